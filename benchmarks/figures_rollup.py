"""Roll-ups as a user runs them: the weekly CSV beside csv.writer, the daily one after a year."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks import stores
from benchmarks.bench import Bench
from benchmarks.processes import Sample, Used, interleaved, ratios
from benchmarks.report import Row, sampled
from benchmarks.stores import Filled


def weekly(bench: Bench) -> Iterator[Row]:
    """The weekly CSV with all calculations."""
    caches = {days: bench.copy(days) for days in (bench.scale.week, bench.scale.long)}
    long = caches[bench.scale.long]
    first = _weekly(bench, long)
    [path] = (long.directory / "reports" / "weekly").glob("*.csv")

    def reference() -> Used:
        target = bench.scratch / "reference.csv"
        arguments = ("-m", "benchmarks.references", "csv", path, target, 1)
        return bench.launcher.python(*arguments)

    runs = {
        str(days): (lambda cache=cache: _weekly(bench, cache)) for days, cache in caches.items()
    }
    used = interleaved(bench.scale.slow_rounds, {"writer": reference, **runs}, warm=0)
    loops = [tuple(map(float, one.output.split())) for one in used["writer"]]
    ours = [one.cpu_s for one in used[str(bench.scale.long)]]
    numbers, texts = [loop[0] for loop in loops], [loop[1] for loop in loops]
    rows = path.read_bytes().count(b"\n") - 1
    shown = f"{Sample(tuple(ours)).median:.2f} s, {rows} rows, {path.stat().st_size / 1e6:.0f} MB"
    yield sampled(
        "weekly",
        "weekly CSV CPU : csv.writer over the cells in memory",
        ratios(ours, numbers),
        ours=shown,
        reference=f"{Sample(tuple(numbers)).median:.2f} s",
        budget=1.1,
        note="the whole process, start, reading and checksums included; of the reference the loop"
        " alone, over numbers and texts as Python has them",
    )
    yield sampled(
        "weekly",
        "weekly CSV CPU : csv.writer over cells that are text already",
        ratios(ours, texts),
        ours=shown,
        reference=f"{Sample(tuple(texts)).median:.2f} s",
    )
    peaks = {days: Sample(tuple(one.rss_mb for one in used[str(days)])) for days in caches}
    for days, sample in peaks.items():
        figure = f"weekly CSV peak RSS, cache of {days} d"
        yield sampled("weekly", figure, sample, unit="MB", budget=60)
    yield Row(
        *("weekly", f"weekly CSV peak RSS: {bench.scale.long} d : {bench.scale.week} d"),
        peaks[bench.scale.long].median / peaks[bench.scale.week].median,
        budget=1.05,
    )
    assert first.output == "" or rows


def _weekly(bench: Bench, cache: Filled) -> Used:
    """Run it as on a Monday: the file is not there yet."""
    for path in (cache.directory / "reports" / "weekly").glob("*.csv"):
        path.unlink()
    command = ("rollup", "weekly", "--date", stores.LAST_DATE, "-c", cache.config_file)
    return bench.launcher.luxcli(*command, directory=cache.directory)


def daily(bench: Bench) -> Iterator[Row]:
    """All that `rollup daily` does on a morning: CSV, verdict, the archive of yesterday."""
    caches = {days: bench.copy(days) for days in (bench.scale.short, bench.scale.long)}
    runs = {str(days): (lambda cache=cache: _daily(bench, cache)) for days, cache in caches.items()}
    used = interleaved(bench.scale.slow_rounds, runs)
    short, long = (
        [one.cpu_s for one in used[str(days)]] for days in (bench.scale.short, bench.scale.long)
    )
    yield sampled(
        "daily",
        f"rollup daily CPU: cache of {bench.scale.long} d : of {bench.scale.short} d",
        ratios(long, short),
        ours=f"{Sample(tuple(long)).median:.2f} s",
        reference=f"{Sample(tuple(short)).median:.2f} s",
        budget=1.1,
        note="CSV, validation and the archive of one day",
    )
    walls = {days: [one.wall_s for one in used[str(days)]] for days in caches}
    yield sampled(
        "daily",
        f"rollup daily wall time: cache of {bench.scale.long} d : of {bench.scale.short} d",
        ratios(walls[bench.scale.long], walls[bench.scale.short]),
        ours=f"{Sample(tuple(walls[bench.scale.long])).median:.2f} s",
        reference=f"{Sample(tuple(walls[bench.scale.short])).median:.2f} s",
    )
    peak = Sample(tuple(one.rss_mb for one in used[str(bench.scale.long)]))
    yield sampled("daily", f"rollup daily peak RSS, cache of {bench.scale.long} d", peak, unit="MB")


def _daily(bench: Bench, cache: Filled) -> Used:
    """Run it on a morning: the archive of the day before is still to be written."""
    _yesterday(cache).unlink()
    command = ("rollup", "daily", "--date", stores.LAST_DATE, "-c", cache.config_file)
    used = bench.launcher.luxcli(*command, directory=cache.directory)
    if not _yesterday(cache).exists():
        raise RuntimeError(f"no archive was written:\n{used.output}")
    return used


def _yesterday(cache: Filled) -> Path:
    return cache.directory / "archive" / "2025-11-30.luxlog.gz"
