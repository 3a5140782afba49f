"""``python -m benchmarks``: measures, prints a table, writes JSON."""

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
    profiled,
    report,
    stores,
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
    """Measure what was asked for; return 1 when a budget is missed, 0 otherwise."""
    options = _options(arguments)
    if options.list:
        for name, figure in FIGURES.items():
            print(f"{name:8} {(figure.__doc__ or '').splitlines()[0]}")
        return 0
    root: Path = options.caches
    root.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with Bench(root, QUICK if options.quick else FULL) as bench:
        for name in options.only or [name for name in FIGURES if name not in bench.scale.left_out]:
            report.say(f"{name} ...")
            rows += FIGURES[name](bench)
        if options.quick:  # a day's cache and a few rounds say nothing about the budgets
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
    """Return the shares of the two commands that matter: the most frequent and the longest."""
    report.say("profiles ...")
    found = {}
    directory = bench.scratch / "profile"
    directory.mkdir()
    with bench.controller(bench.polls(200)) as port:
        config = str(stores.write_config(directory, port=port))
        found["poll-once"] = profiled.shares(60, ["poll-once", "-c", config], directory)
        found["-X importtime poll-once"] = profiled.imports(["poll-once", "-c", config], directory)
    cache = bench.copy(bench.scale.long)
    weekly = ["rollup", "weekly", "--date", str(stores.LAST_DATE), "-c", str(cache.config_file)]
    found["rollup weekly"] = profiled.shares(5, weekly, cache.directory)
    return found


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the figures and end")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=tuple(FIGURES), help="only these figures"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small caches, few rounds: tries the benchmark itself"
    )
    parser.add_argument("--profile", action="store_true", help="also say where the time goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    parser.add_argument(
        "--caches",
        type=Path,
        metavar="DIR",
        default=Path(tempfile.gettempdir()) / "luxcli-benchmarks",
        help="where filled caches are kept between runs (a year: 300 MB, minutes to fill)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
