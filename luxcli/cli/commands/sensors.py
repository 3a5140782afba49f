"""The command `sensors`: list the registers."""

import sys
from typing import Annotated

import typer

from luxcli.cli.options import JsonOption, epilog
from luxcli.cli.output import print_json
from luxcli.cli.screen import print_table
from luxcli.cli.session import Session
from luxcli.errors import UsageError

EPILOG = epilog("0 listed; 2 a pattern matches nothing", "luxcli sensors 'ID_WEB_Temp*'")


def sensors(
    session: Session,
    *,
    patterns: Annotated[
        list[str] | None,
        typer.Argument(help="Groups, ids or patterns; everything when left out."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """List the registers: index, id, English and German name, unit."""
    from luxcli.registers import catalogue

    session.as_json = as_json
    try:
        chosen = catalogue.select(patterns or ["all"])
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if as_json:
        print_json({"ok": True, "sensors": [register.to_json() for register in chosen]})
        return 0
    rows = [(r.group, str(r.index), r.id, r.name, r.german, r.unit) for r in chosen]
    if sys.stdout.isatty():
        # C10 is calculation 10: two columns less leave the ids whole on 80 columns.
        short = [(f"{group[0].upper()}{index}", *rest) for group, index, *rest in rows]
        print_table(("no.", "id", "name", "German", "unit"), short, whole="id")
    else:
        print_table(("group", "index", "id", "name", "German", "unit"), rows)
    if len(chosen) == 1 and chosen[0].labels:
        print_table(("code", "meaning"), [(str(k), v) for k, v in sorted(chosen[0].labels.items())])
    if len(chosen) == 1 and chosen[0].cases:
        cases = [(when, entry.unit, f"raw / {entry.scale}") for when, entry in chosen[0].cases]
        print_table(("when", "unit", "value"), cases)
    return 0
