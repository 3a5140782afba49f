"""Measures what luxcli costs, prints a table, and writes JSON on request."""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import (
    figures_poll,
    figures_rollup,
    figures_store,
    floor,
    histories,
    profiled,
    report,
)
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.report import Row

FIGURES: Final[dict[str, Callable[[Bench], Iterator[Row]]]] = {
    "poll": figures_poll.poll,
    "writes": figures_poll.writes,
    "device": figures_poll.device,
    "size": figures_store.size,
    "weekly": figures_rollup.weekly,
    "daily": figures_rollup.daily,
    "sensor": figures_store.sensor,
    "prune": figures_store.prune,
    "flush": figures_store.flush,
    "floor": floor.floor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen figures; return 1 if a budget is exceeded, else 0."""
    options = _options(arguments)
    if options.list:
        for name, figure in FIGURES.items():
            print(f"{name:8} {(figure.__doc__ or '').splitlines()[0]}")
        return 0
    root: Path = options.databases
    root.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with Bench(root, QUICK if options.quick else FULL) as bench:
        for name in options.only or [name for name in FIGURES if name not in bench.scale.left_out]:
            report.announce(f"{name} ...")
            rows += FIGURES[name](bench)
        if options.quick:  # budgets are for a year of polls and many rounds
            rows = [replace(row, budget=None) for row in rows]
        print(report.table(rows), flush=True)
        document = report.document(rows, quick=options.quick) | {"profiles": {}}
        _write(options.json, document)
        if options.profile:
            _write(options.json, document | {"profiles": _profiles(bench)})
    return int(any(row.passed is False for row in rows))


def _write(path: Path | None, document: dict[str, object]) -> None:
    if path:
        text = json.dumps(document, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def _profiles(bench: Bench) -> dict[str, list[tuple[str, float]]]:
    """Return where the time goes in the most frequent command and in the longest one."""
    report.announce("profiles ...")
    found = {}
    directory = bench.scratch / "profile"
    directory.mkdir()
    with bench.controller(bench.polls(200)) as port:
        config = str(histories.write_config(directory, port=port))
        found["poll-once"] = profiled.shares(60, ["poll-once", "-c", config], directory)
        found["-X importtime poll-once"] = profiled.imports(["poll-once", "-c", config], directory)
    history = bench.shared_copy(bench.scale.long)
    weekly = [
        "rollup",
        "weekly",
        "--date",
        str(histories.LAST_DATE),
        "-c",
        str(history.config_file),
    ]
    found["rollup weekly"] = profiled.shares(5, weekly, history.directory)
    return found


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the figures and exit")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=tuple(FIGURES),
        help="measure only these figures",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small databases and few rounds, to try the benchmark itself",
    )
    parser.add_argument("--profile", action="store_true", help="also profile where the time goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    parser.add_argument(
        "--databases",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()) / "luxcli-benchmarks",
        help="directory of the filled databases, kept for the next run (300 MB for a year,"
        " which takes minutes to fill)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
