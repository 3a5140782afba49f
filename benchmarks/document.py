"""Writes docs/performance.md from what a run measured: ``python -m benchmarks.document FILE``.

FILE is what ``python -m benchmarks --profile --json FILE`` wrote. `baseline.json` holds the figures
from before the first cut, by the same benchmark.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import figures_poll, profiled, report
from benchmarks.processes import PROJECT
from benchmarks.report import Row

_DOCUMENT = PROJECT / "docs" / "performance.md"
_BASELINE = Path(__file__).with_name("baseline.json")
_POLLS_A_YEAR, _POLLS_A_DAY = 1_051_200, 2880
# How much longer a Raspberry Pi 3 or Zero 2 takes for one thread of Python: an estimate.
_SLOWER = (6, 10)

_INTRODUCTION = """# What luxcli costs

The tables here were written by `python -m benchmarks.document` from a run of the benchmark on one
machine. Times in ms or s mean little elsewhere; ratios do, for both sides were measured in the same
run, in turn.

```
python3 -m venv .venv && .venv/bin/pip install -q '.[test]'
.venv/bin/python -m benchmarks --profile --json build/performance.json   # 5 minutes, the first time 15
.venv/bin/python -m benchmarks.document build/performance.json           # writes this file
.venv/bin/python -m benchmarks --list                                    # what is measured
.venv/bin/python -m benchmarks --only weekly daily                       # some of it
.venv/bin/python -m benchmarks --quick                                   # tries the benchmark, 30 s
```

## How it is measured

* **Data**: a simulated year of an air/water heat pump at 30 s: {movement}.
  `benchmarks/year.py` says what is simulated; its days pass the gate for polls and `luxcli validate`.
* **CPU** is user and system time of real processes by `wait4`, **memory** their `ru_maxrss`. They are
  started by a process that is smaller than any of them, since Linux counts a parent's peak as its
  child's; one row checks that against `VmHWM`. Medians and quartiles over rounds in which all
  commands take turns.
* **Bytes written** in two ways, for luxcli and its reference alike: pages of 4 KiB, each counted once
  from one fsync of its file to the next, by strace; and the sectors that reached a loop device with
  ext4, its journal included, with a sync after each poll (they are 30 s apart, and the kernel writes
  within that time) or without. `/proc/self/io` counts large folios and is of no use.
* **References**: `python -c pass`; `python -c "import luxtronik; luxtronik.Luxtronik(host, port)"`,
  which reads the heat pump and stores nothing; the predecessor's scheme, a JSON object of named values
  per poll in SQLite; a row per value in SQLite; a SQLite commit per poll of the same data into the same
  tables; a loop with `csv.writer` over the same cells in memory. For the latter our side is the whole
  command: start, reading, checksums, rename. Cells are numbers and text, as Python has them; a
  second row compares with cells that are text already.

## Figures

{machine}

{table}

{notes}

## Before and after

By the same benchmark, before the first cut (commit {commit}) and now:

{changes}

Four of the older figures were measured otherwise: one sensor over a time by `GROUP BY` with three
aggregates, the bytes of polls 30 s apart from 20 polls, `status` beside a cache with few polls, and
the time for which a writer is blocked by SQLite's lock alone, without the storage lock.

"""

_CUTS = """## What was cut

* **Start of `poll-once`, `status` and `rollup`**: plain calls do without the option parser and
  dataclasses; PyYAML is loaded only where there is a configuration file, SQLite only for a flush, the rules of time zones only where a time is told.
* **Locks write nothing.** Each poll took two locks and left a note of its holder in each: two pages
  and the blocks that truncating and filling a file costs, almost half of what a poll wrote. Who holds
  a lock `/proc/locks` says.
* **Reading**: the settings at a time and their changes come by one statement each, not by two for each
  of 1,600; a poll's checksum is worked out from what varies alone (a CRC of a sum is the sum of CRCs);
  a change of a setting is patched in place.
* **CSV**: column by column instead of cell by cell; what stands still within a few hours is text once,
  and is looked at again only where it has changed.
* **The daily roll-up** asked the cache for each day of the past whether its archive is complete;
  now whatever comes late takes the record of the archive of its day with it.
* **Archives**: a letter for each small difference, times as lateness within the interval, equal
  columns once; checksums over packed numbers. A sixth smaller, a quarter of the time.
* **Cache**: set-points, starts and run times of heating elements go into the change log.
* **A backlog in reverse order** is put in order first.
* **One sensor over a year**: `docs/data.md` has a query that does not sort.

## What dominates now

By a sampling profiler that interrupts also what is written in C, and for `poll-once` by what Python
says of imports:

{profiles}
* `poll-once`: beside the start of Python, loading modules adds up to {loading}; the rest is the exchange,
  the locks and the append with its fsync.
* Bytes: the buffer's line is one or two pages; ext4 adds an inode and its journal for each fsync, which
  nothing above the file system can avoid. A flush adds a twentieth of a SQLite transaction.
* Cache: {cache_bytes} a poll, of which one byte per column is SQLite's header of the row, the rest the
  numbers themselves.
* Weekly CSV: the text of its five million cells, then checksums, then SQLite's rows.
* Daily roll-up: the validation of the day, then its archive, then the CSV.

## How far from the floor

* **Entropy.** Coded column by column, the stream has {entropy} a poll. Archives take
  {archive_ratio:.2f} times that, with nothing but gzip; the cache {cache_ratio:.0f} times, which buys plain SQL.
* **Start of the interpreter.** `poll-once` is {poll_pass:.1f} times `python -c pass`; the library alone,
  imported and reading, is {bare_pass:.1f} times.

## On a Raspberry Pi

* {cpu_day:.0f} s of CPU a day here for 2,880 polls with their flushes. A Raspberry Pi 3 or Zero 2 takes {slow_low} to
  {slow_high} times as long for one thread (an estimate, not measured): {share_low:.1f} to
  {share_high:.1f} % of one core.
* {device} reach the device for each poll: {gigabytes:.0f} GB a year, against {reference_gigabytes:.0f} GB with a
  SQLite commit for each poll. What a card makes of that inside, in blocks that it erases whole, is its own affair.
* {year_size} for the cache of a year and {archive_size} for its archives.
"""


def main(path: Path) -> None:
    """Write the document."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = report.loaded(path)
    baseline = json.loads(_BASELINE.read_text(encoding="utf-8"))
    found = {row.figure: row for row in rows}
    values = {
        **_texts(document, rows, found),
        "commit": baseline["commit"],
        "changes": _changes(baseline["rows"], found),
        **_sums(found),
    }
    text = (_INTRODUCTION + _CUTS).format(**values)
    _DOCUMENT.write_text(text, encoding="utf-8")


def _texts(
    document: Mapping[str, dict[str, list[tuple[str, float]]]],
    rows: Sequence[Row],
    found: Mapping[str, Row],
) -> dict[str, str]:
    machine = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    profiles = [
        f"`{command}`:\n\n{profiled.table([(n, s) for n, s in shares], 6)}\n"
        for command, shares in document["profiles"].items()
    ]
    loading = sum(
        share
        for label, share in document["profiles"]["poll-once"]
        if label.startswith("import of") or label.endswith("<module>")
    )
    notes = [f"* {row.figure}: {row.note}" for row in rows if row.note]
    return {
        "machine": machine,
        "table": report.markdown(rows),
        "notes": "\n".join(notes),
        "profiles": "\n".join(profiles),
        "loading": f"{loading:.0%}",
        "movement": found["cache of a year"].note.partition("; ")[2].replace(";", ","),
    }


def _sums(found: Mapping[str, Row]) -> dict[str, object]:
    poll = found["poll-once CPU : python -c pass"]
    bare = found["poll-once CPU : bare library read"]
    device = found["bytes per poll on the device, 30 s apart : SQLite commit per poll (DELETE)"]
    poll_s = float(found[figures_poll.MEAN].ours.split()[0]) / 1000
    ours, theirs = (float(text.split()[0]) for text in (device.ours, device.reference))
    shares = [100 * poll_s * slower / 30 for slower in _SLOWER]
    entropy = found["entropy of the stream, order 0, column by column"]
    return {
        "cache_bytes": found["cache of a year"].ours.removesuffix("/poll"),
        "entropy": f"{entropy.value:.1f} bytes",
        "archive_ratio": found["archives : entropy"].value,
        "cache_ratio": found["cache : entropy"].value,
        "poll_pass": poll.value,
        "bare_pass": poll.value / bare.value,
        "cpu_day": poll_s * _POLLS_A_DAY,
        "slow_low": _SLOWER[0],
        "slow_high": _SLOWER[1],
        "share_low": shares[0],
        "share_high": shares[1],
        "device": device.ours,
        "gigabytes": ours * _POLLS_A_YEAR / 1e6,
        "reference_gigabytes": theirs * _POLLS_A_YEAR / 1e6,
        "year_size": f"{found['cache of a year'].value:.0f} MB",
        "archive_size": f"{found['archives of a year'].value:.0f} MB",
    }


def _changes(before: Sequence[Mapping[str, object]], found: Mapping[str, Row]) -> str:
    lines = ["| figure | before | now | luxcli before | luxcli now |", "|---|---|---|---|---|"]
    for old in before:
        row = found.get(str(old["figure"]))
        if row is not None:
            was = Row("", row.figure, float(str(old["value"])), row.unit).cells[1]
            lines.append(f"| {row.figure} | {was} | {row.cells[1]} | {old['ours']} | {row.ours} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
