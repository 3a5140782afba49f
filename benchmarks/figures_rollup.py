"""Cost of roll-ups: the weekly CSV beside `csv.writer`, the daily one after a year of polls."""

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import histories, year
from benchmarks.bench import Bench
from benchmarks.histories import History
from benchmarks.processes import Sample, Usage, ratios, run_in_turn
from benchmarks.report import Row, sample_row
from luxcli.maintenance import check
from luxcli.store import ledger
from luxcli.store.store import Store


def weekly(bench: Bench) -> Iterator[Row]:
    """CPU and memory of the weekly CSV with all calculations."""
    by_days = {days: bench.shared_copy(days) for days in (bench.scale.week, bench.scale.long)}
    long = by_days[bench.scale.long]
    _weekly(bench, long)
    [path] = (long.directory / "reports" / "weekly").glob("*.csv")

    def reference() -> Usage:
        target = bench.scratch / "reference.csv"
        arguments = ("-m", "benchmarks.references", "csv", path, target, 1)
        return bench.launcher.python(*arguments)

    runs = {
        str(days): (lambda history=history: _weekly(bench, history))
        for days, history in by_days.items()
    }
    usages = run_in_turn(bench.scale.slow_rounds, {"writer": reference, **runs}, warm_up=0)
    loops = [tuple(map(float, usage.output.split())) for usage in usages["writer"]]
    ours = [usage.cpu_s for usage in usages[str(bench.scale.long)]]
    numbers, texts = [loop[0] for loop in loops], [loop[1] for loop in loops]
    rows = path.read_bytes().count(b"\n") - 1
    shown = f"{Sample(tuple(ours)).median:.2f} s, {rows} rows, {path.stat().st_size / 1e6:.0f} MB"
    yield sample_row(
        "weekly",
        "weekly CSV CPU : csv.writer over the cells in memory",
        ratios(ours, numbers),
        ours=shown,
        reference=f"{Sample(tuple(numbers)).median:.2f} s",
        budget=1.1,
        note="luxcli: the whole process, with start, reading and checksums; reference: only the"
        " loop, over numbers and texts",
    )
    yield sample_row(
        "weekly",
        "weekly CSV CPU : csv.writer over cells that are text",
        ratios(ours, texts),
        ours=shown,
        reference=f"{Sample(tuple(texts)).median:.2f} s",
    )
    peaks = {days: Sample(tuple(usage.rss_mb for usage in usages[str(days)])) for days in by_days}
    for days, sample in peaks.items():
        figure = f"weekly CSV peak RSS, database of {days} d"
        yield sample_row("weekly", figure, sample, unit="MB", budget=60)
    yield Row(
        *("weekly", f"weekly CSV peak RSS: {bench.scale.long} d : {bench.scale.week} d"),
        peaks[bench.scale.long].median / peaks[bench.scale.week].median,
        budget=1.05,
    )


def _weekly(bench: Bench, history: History) -> Usage:
    """Run the weekly roll-up as on a Monday, when the file does not exist yet."""
    for path in (history.directory / "reports" / "weekly").glob("*.csv"):
        path.unlink()
    command = ("rollup", "weekly", "--date", histories.LAST_DATE, "-c", history.config_file)
    return bench.launcher.luxcli(*command, directory=history.directory)


def daily(bench: Bench) -> Iterator[Row]:
    """CPU and time of `rollup daily` on a morning: CSV, validation, archive of yesterday."""
    by_days = {days: bench.shared_copy(days) for days in (bench.scale.short, bench.scale.long)}
    runs = {
        str(days): (lambda history=history: _daily(bench, history))
        for days, history in by_days.items()
    }
    usages = run_in_turn(bench.scale.slow_rounds, runs)
    short, long = (
        [usage.cpu_s for usage in usages[str(days)]]
        for days in (bench.scale.short, bench.scale.long)
    )
    yield sample_row(
        "daily",
        f"rollup daily CPU: database of {bench.scale.long} d : of {bench.scale.short} d",
        ratios(long, short),
        ours=f"{Sample(tuple(long)).median:.2f} s",
        reference=f"{Sample(tuple(short)).median:.2f} s",
        budget=1.1,
        note="CSV, validation and the archive of one day",
    )
    walls = {days: [usage.wall_s for usage in usages[str(days)]] for days in by_days}
    yield sample_row(
        "daily",
        f"rollup daily wall time: database of {bench.scale.long} d : of {bench.scale.short} d",
        ratios(walls[bench.scale.long], walls[bench.scale.short]),
        ours=f"{Sample(tuple(walls[bench.scale.long])).median:.2f} s",
        reference=f"{Sample(tuple(walls[bench.scale.short])).median:.2f} s",
    )
    peak = Sample(tuple(usage.rss_mb for usage in usages[str(bench.scale.long)]))
    yield sample_row(
        "daily", f"rollup daily peak RSS, database of {bench.scale.long} d", peak, unit="MB"
    )
    yield _nightly_check(by_days[bench.scale.long])


def _nightly_check(history: History) -> Row:
    """Measure the check of database and archives, which the first run of a night does."""
    store = Store(history.database)
    ledger.record_rebuild(store, None)
    began = time.process_time()
    checked = check.check_due(history.config, now_ms=year.STOP_MS, zone=histories.ZONE)
    taken_s = time.process_time() - began
    if checked.findings or not checked.archives:
        raise RuntimeError(f"the nightly check found {checked}")
    return Row(
        *("daily", f"nightly check CPU, database of {history.days} d", taken_s, "s"),
        note=f"once a night: SQLite's quick_check, {checked.archives} archives compared",
    )


def _daily(bench: Bench, history: History) -> Usage:
    """Run the daily roll-up as on a morning, when the archive of yesterday does not exist yet."""
    _yesterday(history).unlink()
    command = ("rollup", "daily", "--date", histories.LAST_DATE, "-c", history.config_file)
    usage = bench.launcher.luxcli(*command, directory=history.directory)
    if not _yesterday(history).exists():
        raise RuntimeError(f"rollup daily wrote no archive:\n{usage.output}")
    return usage


def _yesterday(history: History) -> Path:
    return history.directory / "archive" / "2025-11-30.json.xz"
