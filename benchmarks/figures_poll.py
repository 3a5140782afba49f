"""A poll: CPU and memory beside the bare library, syncs and bytes beside a commit per poll."""

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import loopdevice, stores, syscalls
from benchmarks.bench import Bench
from benchmarks.processes import Sample, Used, interleaved, ratios
from benchmarks.report import Row, sampled, say

_PASS = ("-c", "pass")
_MODES = ("luxcli", "DELETE", "PERSIST")
_HIGH_WATER = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"


def poll(bench: Bench) -> Iterator[Row]:
    """CPU and peak memory of `poll-once` and `status`."""
    directory = bench.scratch / "poll"
    directory.mkdir()
    polls = bench.polls(200)
    with bench.controller(polls) as port:
        # Only the append: a flush is part of every twentieth poll, see the mean.
        config = stores.write_config(directory, port=port)
        buffer = directory / "cache.sqlite3.buffer.jsonl"
        bare = f"import luxtronik; luxtronik.Luxtronik('127.0.0.1', {port})"

        def poll_once() -> Used:
            return bench.launcher.luxcli("poll-once", "-c", config, directory=directory)

        def appended() -> Used:
            if buffer.exists() and buffer.read_bytes().count(b"\n") >= 18:
                poll_once()
                poll_once()
                if buffer.stat().st_size == 0:
                    poll_once()
            return poll_once()

        poll_once()
        used = interleaved(
            bench.scale.rounds,
            {
                "pass": lambda: bench.launcher.python(*_PASS),
                "bare": lambda: bench.launcher.python("-c", bare),
                "poll": appended,
                "status": lambda: bench.launcher.luxcli(
                    "status", "-c", config, directory=directory
                ),
            },
        )
    cpu = {name: [one.cpu_s for one in runs] for name, runs in used.items()}
    yield sampled(
        "poll",
        "poll-once CPU : bare library read",
        ratios(cpu["poll"], cpu["bare"]),
        ours=_ms(cpu["poll"]),
        reference=_ms(cpu["bare"]),
        budget=1.25,
    )
    yield sampled(
        "poll",
        "poll-once CPU : python -c pass",
        ratios(cpu["poll"], cpu["pass"]),
        ours=_ms(cpu["poll"]),
        reference=_ms(cpu["pass"]),
    )
    memory = Sample(tuple(one.rss_mb for one in used["poll"]))
    yield sampled("poll", "poll-once peak RSS", memory, unit="MB", budget=30)
    yield sampled(
        "status",
        "status CPU : python -c pass",
        ratios(cpu["status"], cpu["pass"]),
        ours=_ms(cpu["status"]),
        reference=_ms(cpu["pass"]),
        budget=5,
    )
    yield _memory_check(bench)


def _memory_check(bench: Bench) -> Row:
    """Compare two accounts of peak memory: the launcher's must not be part of what it starts."""
    used = bench.launcher.python("-c", _HIGH_WATER)
    own = int(used.output) / 1000
    return Row(
        "poll",
        "check: peak RSS by wait4 : by VmHWM",
        used.rss_mb / own,
        ours=f"{used.rss_mb:.1f} MB",
        reference=f"{own:.1f} MB",
        budget=1.1,
    )


def writes(bench: Bench) -> Iterator[Row]:
    """Syncs and bytes of polls with their flushes, by strace."""
    count = bench.scale.polls
    if not syscalls.available():
        say("writes: strace is missing or forbidden; not measured")
        return
    ours = _traced_polls(bench, count)
    kilo = f"{count} polls, each a process, with {count // 20} flushes"
    by_file = ", ".join(f"{n} {name}" for name, n in sorted(ours.fsyncs_by_file.items()))
    yield Row("writes", "fsyncs per poll", ours.fsyncs / count, ours=kilo, budget=1.5, note=by_file)
    for mode, budget in (("DELETE", 0.5), ("PERSIST", None)):
        theirs = _traced_commits(bench, count, mode)
        label = f"SQLite commit per poll ({mode})"
        yield Row(
            "writes",
            f"bytes per poll in pages of 4 KiB : {label}",
            ours.page_bytes / theirs.page_bytes,
            ours=_kb(ours.page_bytes / count),
            reference=f"{_kb(theirs.page_bytes / count)}, {theirs.fsyncs / count:.1f} fsyncs",
            budget=budget,
        )
        yield Row(
            "writes",
            f"bytes per poll as given to write : {label}",
            ours.raw / theirs.raw,
            ours=_kb(ours.raw / count),
            reference=_kb(theirs.raw / count),
        )


def _traced_polls(bench: Bench, count: int) -> syscalls.Writes:
    cache = bench.fresh(bench.scale.short, "writes-polls")
    with bench.controller(bench.polls(count)) as port:
        config = stores.write_config(cache.directory, port=port)
        return syscalls.traced([_poll_once(config)] * count, cache.directory)


def _traced_commits(bench: Bench, count: int, mode: str) -> syscalls.Writes:
    cache = bench.fresh(bench.scale.short, f"writes-{mode}")
    command = [sys.executable, "-m", "benchmarks.references", "commits", str(cache.cache)]
    return syscalls.traced([[*command, str(count), mode]], cache.directory)


def device(bench: Bench) -> Iterator[Row]:
    """Bytes that reach a block device, ext4 with its journal, for polls and for commits."""
    if not loopdevice.available():
        say("device: no loop device may be mounted here; not measured")
        return
    for synced in (True, False):
        found = {mode: _on_device(bench, mode, synced=synced) for mode in _MODES}
        how = "30 s apart" if synced else "back to back"
        for mode, budget in (("DELETE", 0.5 if synced else None), ("PERSIST", None)):
            yield Row(
                "device",
                f"bytes per poll on the device, {how} : SQLite commit per poll ({mode})",
                found["luxcli"] / found[mode],
                ours=_kb(found["luxcli"]),
                reference=_kb(found[mode]),
                budget=budget,
                note="sectors of a loop device with ext4, its journal included"
                + ("; a sync after each poll, as the kernel does within 30 s" if synced else ""),
            )


def _on_device(bench: Bench, mode: str, *, synced: bool) -> float:
    """Return the bytes per poll that reach the device, flushes included."""
    count = bench.scale.polls
    with loopdevice.mounted(bench.scratch, f"device-{mode}-{synced}") as disk:
        cache = stores.copied(bench.cache(bench.scale.short), disk.directory / "data")
        with bench.controller(bench.polls(count)) as port:
            config = stores.write_config(cache.directory, port=port)
            before = disk.written()
            for number in range(count):
                if mode == "luxcli":
                    bench.launcher.run(_poll_once(config), cache.directory)
                else:
                    bench.launcher.run(_one_commit(cache.cache, number, mode))
                if synced:
                    disk.sync()
            return (disk.written() - before) / count


def _one_commit(cache: Path, number: int, mode: str) -> list[str]:
    module = [sys.executable, "-m", "benchmarks.references"]
    return [*module, "commits", str(cache), "1", mode, str(number)]


def _poll_once(config: Path) -> list[str]:
    return [sys.executable, "-m", "luxcli", "poll-once", "-c", str(config)]


def _ms(seconds: list[float]) -> str:
    return f"{Sample(tuple(seconds)).median * 1000:.1f} ms"


def _kb(count: float) -> str:
    return f"{count / 1000:.1f} kB"
