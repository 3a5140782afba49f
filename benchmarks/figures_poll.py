"""A poll: CPU and memory beside the bare library, syncs and bytes beside a commit per poll."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import loopdevice, stores, syscalls
from benchmarks.bench import Bench
from benchmarks.processes import Sample, Used, interleaved, ratios
from benchmarks.report import Row, sampled, say
from luxcli.model import Snapshot
from luxcli.store.store import Store

MEAN = "poll-once CPU, mean with its flushes : bare library read"
_FLUSHED = 20  # `flush_polls`
_PASS = ("-c", "pass")
_MODES = ("luxcli", "DELETE", "PERSIST")
_HIGH_WATER = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"


def poll(bench: Bench) -> Iterator[Row]:
    """CPU and peak memory of `poll-once` and `status`, beside a cache with a day up to now."""
    day = bench.polls(bench.scale.sample)
    with bench.controller(bench.polls(200)) as port:
        bare = f"import luxtronik; luxtronik.Luxtronik('127.0.0.1', {port})"
        # Their buffers apart: one grows by a line each round, from the other there is a flush.
        append, flush = (_Recorder(bench, name, day, port) for name in ("append", "flush"))

        def appended() -> Used:
            if append.flushes_next:
                append.run("poll-once")
            return append.run("poll-once")

        def flushed() -> Used:
            while not flush.flushes_next:
                flush.run("poll-once")
            return flush.run("poll-once")

        used = interleaved(
            bench.scale.rounds,
            {
                "pass": lambda: bench.launcher.python(*_PASS),
                "bare": lambda: bench.launcher.python("-c", bare),
                "poll": appended,
                "flush": flushed,
                "status": lambda: append.run("status"),
            },
        )
    yield from _poll_rows(used)
    yield _memory_check(bench)


def _poll_rows(used: Mapping[str, Sequence[Used]]) -> Iterator[Row]:
    cpu = {name: [one.cpu_s for one in runs] for name, runs in used.items()}
    yield sampled(
        "poll",
        "poll-once CPU : bare library read",
        ratios(cpu["poll"], cpu["bare"]),
        ours=_ms(cpu["poll"]),
        reference=_ms(cpu["bare"]),
        budget=1.6,
    )
    yield sampled(
        "poll",
        "poll-once CPU : python -c pass",
        ratios(cpu["poll"], cpu["pass"]),
        ours=_ms(cpu["poll"]),
        reference=_ms(cpu["pass"]),
    )
    mean = [
        (append * (_FLUSHED - 1) + flush) / _FLUSHED
        for append, flush in zip(cpu["poll"], cpu["flush"], strict=True)
    ]
    yield sampled(
        "poll",
        MEAN,
        ratios(mean, cpu["bare"]),
        ours=_ms(mean),
        reference=_ms(cpu["bare"]),
        budget=1.65,
        note=f"each twentieth poll moves the buffer into the cache: {_ms(cpu['flush'])}",
    )
    for kind, name in (("poll", "poll-once"), ("flush", "poll-once with a flush,")):
        memory = Sample(tuple(one.rss_mb for one in used[kind]))
        yield sampled("poll", f"{name} peak RSS", memory, unit="MB", budget=30)
    yield sampled(
        "poll",
        "status CPU : python -c pass",
        ratios(cpu["status"], cpu["pass"]),
        ours=_ms(cpu["status"]),
        reference=_ms(cpu["pass"]),
        budget=5,
    )


class _Recorder:
    """A directory in which the heat pump has been recorded for a day, up to now."""

    def __init__(self, bench: Bench, name: str, day: Sequence[Snapshot], port: int) -> None:
        self._launcher, self._directory = bench.launcher, bench.scratch / name
        self._directory.mkdir()
        self._config = stores.write_config(self._directory, port=port)
        self._store = Store(self._directory / "cache.sqlite3")
        self._store.merge(_until(day, time.time() - 60), [])

    def run(self, command: str) -> Used:
        return self._launcher.luxcli(command, "-c", self._config, directory=self._directory)

    @property
    def flushes_next(self) -> bool:
        """Whether the next poll moves the buffer into the cache."""
        return len(self._store.waiting().polls_ms) == _FLUSHED - 1


def _until(polls: Sequence[Snapshot], end_s: float) -> list[Snapshot]:
    """Return polls with the last one at a time, the others as long before it as they were."""
    later_ms = round(end_s * 1000) - polls[-1].taken_ms
    return [poll._replace(taken_ms=poll.taken_ms + later_ms) for poll in polls]


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
