"""Cost of a poll: CPU and memory beside the bare library, writes beside a commit per poll."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import histories, loopdevice, syscalls
from benchmarks.bench import Bench
from benchmarks.processes import Sample, Usage, ratios, run_in_turn
from benchmarks.report import Row, announce, sample_row
from luxcli.model import Snapshot
from luxcli.store.store import Store

MEAN = "poll-once CPU, mean with its flushes : bare library read"
_FLUSHED = 20  # `flush_polls`
_PASS = ("-c", "pass")
_MODES = ("luxcli", "DELETE", "PERSIST")
_HIGH_WATER = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"


def poll(bench: Bench) -> Iterator[Row]:
    """CPU and peak memory of `poll-once` and `status`, with a database of the last 24 hours."""
    day = bench.polls(bench.scale.sample)
    sent = bench.polls(200)
    # Each has a heat pump of its own: polls of one recording follow each other as in life, where
    # few settings change between two of them.
    with (
        bench.controller(sent) as port,
        bench.controller(sent) as append_port,
        bench.controller(sent) as flush_port,
    ):
        bare = f"import luxtronik; luxtronik.Luxtronik('127.0.0.1', {port})"
        # Two recordings: in one each poll appends a line, in the other each measured poll flushes.
        append = _Recording(bench, "append", day, append_port)
        flush = _Recording(bench, "flush", day, flush_port)

        def append_poll() -> Usage:
            if append.flushes_next:
                append.run("poll-once")
            return append.run("poll-once")

        def flush_poll() -> Usage:
            while not flush.flushes_next:
                flush.run("poll-once")
            return flush.run("poll-once")

        usages = run_in_turn(
            bench.scale.rounds,
            {
                "pass": lambda: bench.launcher.python(*_PASS),
                "bare": lambda: bench.launcher.python("-c", bare),
                "poll": append_poll,
                "flush": flush_poll,
                "status": lambda: append.run("status"),
            },
        )
    yield from _poll_rows(usages)
    yield _memory_check(bench)


def _poll_rows(usages: Mapping[str, Sequence[Usage]]) -> Iterator[Row]:
    cpu = {name: [usage.cpu_s for usage in runs] for name, runs in usages.items()}
    yield sample_row(
        "poll",
        "poll-once CPU : bare library read",
        ratios(cpu["poll"], cpu["bare"]),
        ours=_ms(cpu["poll"]),
        reference=_ms(cpu["bare"]),
        budget=1.6,
    )
    yield sample_row(
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
    yield sample_row(
        "poll",
        MEAN,
        ratios(mean, cpu["bare"]),
        ours=_ms(mean),
        reference=_ms(cpu["bare"]),
        budget=1.65,
        note=f"each twentieth poll also flushes: {_ms(cpu['flush'])}",
    )
    for kind, name in (("poll", "poll-once"), ("flush", "poll-once with a flush,")):
        memory = Sample(tuple(usage.rss_mb for usage in usages[kind]))
        yield sample_row("poll", f"{name} peak RSS", memory, unit="MB", budget=30)
    yield sample_row(
        "poll",
        "status CPU : python -c pass",
        ratios(cpu["status"], cpu["pass"]),
        ours=_ms(cpu["status"]),
        reference=_ms(cpu["pass"]),
        budget=6,
    )


class _Recording:
    """A directory with a database of the day that ends now."""

    def __init__(self, bench: Bench, name: str, day: Sequence[Snapshot], port: int) -> None:
        self._launcher, self._directory = bench.launcher, bench.scratch / name
        self._directory.mkdir()
        self._config = histories.write_config(self._directory, port=port)
        self._store = Store(self._directory / "cache.sqlite3")
        self._store.merge(_shift(day, time.time() - 60), [])

    def run(self, command: str) -> Usage:
        return self._launcher.luxcli(command, "-c", self._config, directory=self._directory)

    @property
    def flushes_next(self) -> bool:
        """Whether the next poll flushes."""
        return len(self._store.waiting().polls_ms) == _FLUSHED - 1


def _shift(polls: Sequence[Snapshot], end_s: float) -> list[Snapshot]:
    """Return the polls of later scheduled times, so that the last one is before `end_s`."""
    step_ms = polls[-1].interval_s * 1000
    later_ms = (round(end_s * 1000) - polls[-1].taken_ms) // step_ms * step_ms
    return [poll._replace(taken_ms=poll.taken_ms + later_ms) for poll in polls]


def _memory_check(bench: Bench) -> Row:
    """Compare ru_maxrss with VmHWM, which does not include the memory of the parent process."""
    usage = bench.launcher.python("-c", _HIGH_WATER)
    high_water_mb = int(usage.output) / 1000
    return Row(
        "poll",
        "check: peak RSS by wait4 : by VmHWM",
        usage.rss_mb / high_water_mb,
        ours=f"{usage.rss_mb:.1f} MB",
        reference=f"{high_water_mb:.1f} MB",
        budget=1.1,
    )


def writes(bench: Bench) -> Iterator[Row]:
    """Syncs and bytes written by polls and their flushes, counted by strace."""
    count = bench.scale.polls
    if not syscalls.available():
        announce("writes: not measured: strace is not installed or not permitted")
        return
    ours = _trace_polls(bench, count)
    described = f"{count} polls, each a process, with {count // 20} flushes"
    by_file = ", ".join(f"{n} {name}" for name, n in sorted(ours.fsyncs_by_file.items()))
    yield Row(
        "writes", "fsyncs per poll", ours.fsyncs / count, ours=described, budget=1.5, note=by_file
    )
    for mode, budget in (("DELETE", 0.5), ("PERSIST", None)):
        theirs = _trace_commits(bench, count, mode)
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


def _trace_polls(bench: Bench, count: int) -> syscalls.Writes:
    history = bench.new_copy(bench.scale.short, "writes-polls")
    with bench.controller(bench.polls(count)) as port:
        config = histories.write_config(history.directory, port=port)
        return syscalls.trace([_poll_once(config)] * count, history.directory)


def _trace_commits(bench: Bench, count: int, mode: str) -> syscalls.Writes:
    history = bench.new_copy(bench.scale.short, f"writes-{mode}")
    command = [sys.executable, "-m", "benchmarks.references", "commits", str(history.database)]
    return syscalls.trace([[*command, str(count), mode]], history.directory)


def device(bench: Bench) -> Iterator[Row]:
    """Bytes that reach a block device with ext4, its journal included."""
    if not loopdevice.available():
        announce("device: not measured: no loop device can be mounted (needs root)")
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
    """Return the bytes per poll that reach the device, flushes or commits included."""
    count = bench.scale.polls
    with loopdevice.mounted(bench.scratch, f"device-{mode}-{synced}") as disk:
        history = histories.copy(bench.history(bench.scale.short), disk.directory / "data")
        with bench.controller(bench.polls(count)) as port:
            config = histories.write_config(history.directory, port=port)
            before = disk.written()
            for number in range(count):
                if mode == "luxcli":
                    bench.launcher.run(_poll_once(config), history.directory)
                else:
                    bench.launcher.run(_one_commit(history.database, number, mode))
                if synced:
                    disk.sync()
            return (disk.written() - before) / count


def _one_commit(database: Path, number: int, mode: str) -> list[str]:
    module = [sys.executable, "-m", "benchmarks.references"]
    return [*module, "commits", str(database), "1", mode, str(number)]


def _poll_once(config: Path) -> list[str]:
    return [sys.executable, "-m", "luxcli", "poll-once", "-c", str(config)]


def _ms(seconds: list[float]) -> str:
    return f"{Sample(tuple(seconds)).median * 1000:.1f} ms"


def _kb(count: float) -> str:
    return f"{count / 1000:.1f} kB"
