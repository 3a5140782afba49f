"""Writes docs/performance.md from a run of the benchmark: ``python -m benchmarks.document FILE``.

``python -m benchmarks --profile --json FILE`` writes the file. `baseline.json` holds the figures of
the same benchmark before luxcli was optimised.
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
# How many times as long a Raspberry Pi 3 or Zero 2 takes for one thread of Python, estimated.
_SLOWER = (6, 10)

_INTRODUCTION = """# What luxcli costs

`python -m benchmarks.document` wrote this page from one run of the benchmark on one machine. Times in
ms or s differ between machines. Ratios hardly do: both sides were measured in the same run, in turn.

```
python3 -m venv .venv && .venv/bin/pip install -q '.[test]'
.venv/bin/python -m benchmarks --profile --json build/performance.json   # 5 minutes, the first time 15
.venv/bin/python -m benchmarks.document build/performance.json           # writes this page
.venv/bin/python -m benchmarks --list                                    # lists the figures
.venv/bin/python -m benchmarks --only weekly daily                       # measures some of them
.venv/bin/python -m benchmarks --quick                                   # tries the benchmark, 30 s
```

## How it is measured

* **Data**: a simulated year of an air/water heat pump with a poll every 30 s: {movement}.
  `benchmarks/year.py` describes the simulation. Its days pass the check of each poll and
  `luxcli validate`.
* **CPU** is user and system time of real processes (`wait4`), **memory** is their `ru_maxrss`. Linux
  counts the peak of the parent process as the peak of its child, so a very small process starts the
  measured ones; one row compares the result with `VmHWM`. The values are medians and quartiles of
  rounds. Each round runs all commands in turn.
* **Byte code**: all modules are compiled before the first measurement, as pip does it for an
  installation. No measured process compiles a module.
* **Bytes written** are counted in two ways, for luxcli and for the reference. First, by strace: each
  page of 4 KiB counts once between two fsyncs of its file. Second, by a loop device with ext4: the
  sectors that reach it, the journal included. A sync follows each poll ("30 s apart", the time within
  which the kernel writes) or not ("back to back"). `/proc/self/io` counts large folios and is not used.
* **References**:
  * `python -c pass`;
  * the bare library read, `python -c "import luxtronik; luxtronik.Luxtronik(host, port)"`, which reads
    the heat pump and stores nothing;
  * the predecessor's scheme, a JSON object of named values per poll in SQLite;
  * a row per value in SQLite;
  * a SQLite commit per poll, with luxcli's data and tables;
  * a loop with `csv.writer` over the same cells in memory. luxcli's side is the whole command: start,
    reading, checksums, rename. The cells are numbers and text; a second row compares with cells that
    are text.

## Figures

{machine}

{table}

{notes}

## Before and after

The same benchmark before luxcli was optimised (commit {commit}) and now:

{changes}

Four of the older figures were measured in another way: one sensor over a time by `GROUP BY` with three
aggregates; the bytes of polls 30 s apart from 20 polls; `status` with a database of few polls; the time
for which a writer is blocked by SQLite's lock alone, without the storage lock.

"""

_MECHANISMS = """## Which mechanisms exist for speed

luxcli is written for speed only where somebody can notice it. These mechanisms exist:

* **A fast path for `poll-once` and `status`** (`luxcli/cli/fast.py`): it parses simple command lines
  without Typer. Importing Typer takes 63 ms of CPU, as long as all the rest of a poll, and the scheduler
  starts 2,880 polls a day: that is three minutes of CPU a day here, and about 18 to 30 minutes on a
  Raspberry Pi 3 or Zero 2. Both parsers read the same declarations of the options. All other commands
  use Typer, the roll-ups too: they run 24 times a day.
* **Lazy imports**: a poll loads SQLite only to flush, and time zones, Typer, rich,
  python-luxtronik and `urllib.request` never.
* **Garbage collection is off** in `poll-once` and `status`, which live for a fraction of a second.
* **A journal** takes each poll as one line; each twentieth poll inserts what waits into the database.
* **Lock files stay empty.** `/proc/locks` says which process holds a lock.
* **Checksums from the registers that vary**: CRC-32 is affine, so constant registers are checksummed
  once per batch of rows (`luxcli/store/rows.py`).
* **Change log**: registers that seldom change are stored as changes, not in each row. Set-points,
  starts and run times of heating elements are among them.
* **CSV by columns**: the text of a cell is made again only if the value has changed.
* **The daily roll-up** looks only at days whose archive is not complete. A poll that arrives late
  deletes the record of its day's archive.
* **A long backlog in reverse order** is sorted before it is inserted.
* **One sensor over a year**: [data.md](data.md) has a query that sorts nothing.

Elsewhere the usual library does the work: PyYAML reads the configuration, `logging` of the standard
library writes the log, `fetchall` reads rows. PyYAML and `logging` take about 20 ms of a poll; the budget
of 1.6 times the bare library read leaves room for them.

## What takes the time

A sampling profiler measured the shares of CPU time; `-X importtime` measured those of imports:

{profiles}
* `poll-once`: imports take {loading} in addition to the start of Python. The rest is the exchange with
  the controller, the locks, and the line in the journal with its fsync.
* Bytes: a line of the journal fills one or two pages. ext4 adds an inode and its journal to each fsync,
  which no program can avoid. A flush adds a twentieth of a SQLite transaction.
* Database: {database_bytes} per poll. One byte per column is SQLite's header of the row, the rest are
  the numbers.
* Weekly CSV: first the text of its five million cells, then the checksums, then SQLite's rows.
* Daily roll-up: first the validation of the day, then its archive, then the CSV.

## How far from the lower limit

* **Entropy**: if each column is coded by itself, the values have {entropy} per poll. Archives take
  {archive_ratio:.2f} times that. The database takes {database_ratio:.0f} times that; in return, plain SQL can read it.
* **Start of Python**: `poll-once` takes {poll_pass:.1f} times `python -c pass`; the bare library read
  takes {bare_pass:.1f} times.

## On a Raspberry Pi

* **CPU**: {cpu_day:.0f} s a day here, for 2,880 polls with their flushes. A Raspberry Pi 3 or Zero 2 takes {slow_low} to
  {slow_high} times as long for one thread (estimated, not measured). That is {share_low:.1f} to {share_high:.1f} % of one core.
* **Writes**: {device} reach the device for each poll. That is {gigabytes:.0f} GB a year; with a SQLite commit for
  each poll it would be {reference_gigabytes:.0f} GB. An SD card erases whole blocks and therefore writes more inside; that
  is not measured.
* **Size**: {year_size} for the database of a year and {archive_size} for its archives.
"""


def main(path: Path) -> None:
    """Write docs/performance.md from the JSON file of a run."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = report.read_rows(path)
    baseline = json.loads(_BASELINE.read_text(encoding="utf-8"))
    found = {row.figure: row for row in rows}
    values = {
        **_texts(document, rows, found),
        "commit": baseline["commit"],
        "changes": _changes(baseline["rows"], found),
        **_sums(found),
    }
    text = (_INTRODUCTION + _MECHANISMS).format(**values)
    _DOCUMENT.write_text(text, encoding="utf-8")


def _texts(
    document: Mapping[str, dict[str, list[tuple[str, float]]]],
    rows: Sequence[Row],
    found: Mapping[str, Row],
) -> dict[str, str]:
    machine = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    profiles = [
        f"`{command}`:\n\n{profiled.table([(n, s) for n, s in shares], 10)}\n"
        for command, shares in document["profiles"].items()
    ]
    loading = sum(
        share for label, share in document["profiles"]["poll-once"] if label.startswith("import")
    )
    notes = [f"* {row.figure}: {row.note}" for row in rows if row.note]
    return {
        "machine": machine,
        "table": report.markdown(rows),
        "notes": "\n".join(notes),
        "profiles": "\n".join(profiles),
        "loading": f"{loading:.0%}",
        "movement": found["database of a year"].note.partition("; ")[2].replace(";", ","),
    }


def _sums(found: Mapping[str, Row]) -> dict[str, object]:
    poll = found["poll-once CPU : python -c pass"]
    bare = found["poll-once CPU : bare library read"]
    device = found["bytes per poll on the device, 30 s apart : SQLite commit per poll (DELETE)"]
    poll_s = float(found[figures_poll.MEAN].ours.split()[0]) / 1000
    ours, theirs = (float(text.split()[0]) for text in (device.ours, device.reference))
    shares = [100 * poll_s * slower / 30 for slower in _SLOWER]
    entropy = found["entropy of the values, order 0, column by column"]
    return {
        "database_bytes": found["database of a year"].ours.removesuffix("/poll"),
        "entropy": f"{entropy.value:.1f} bytes",
        "archive_ratio": found["archives : entropy"].value,
        "database_ratio": found["database : entropy"].value,
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
        "year_size": f"{found['database of a year'].value:.0f} MB",
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
