"""The command `demo`: all jobs against a simulated heat pump."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from luxcli.cli.options import JsonOption, epilog
from luxcli.cli.output import local_zone, print_json, print_line
from luxcli.cli.screen import print_table, progress
from luxcli.cli.session import Session
from luxcli.system import log_setup

EPILOG = epilog("0 done; 2 the directory is in use; 74 it cannot be written", "luxcli demo")


def demo(
    session: Session,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Directory to fill.")
    ] = Path("luxcli-demo"),
    as_json: JsonOption = False,
) -> int:
    """Run all jobs against a simulated heat pump: no hardware, no configuration."""
    from luxcli.live import demo as job

    session.as_json = as_json
    log_setup.set_up("WARNING", "text")
    zone = local_zone(None)
    with progress("polling") as show:
        result = job.run(output, now_s=time.time(), zone=zone, progress=show)
    if as_json:
        print_json(result.to_json())
        return 0
    print_table(("", "luxcli demo"), result.rows())
    luxcli = sys.argv[0] if os.sep in sys.argv[0] and "__main__" not in sys.argv[0] else "luxcli"
    print_line(
        f"\nYour own heat pump: {luxcli} config init --host ADDRESS && {luxcli} poll-once"
        f'\nLook at the data:   sqlite3 {result.cache} "select time, ID_WEB_Temperatur_TVL'
        ' from reading limit 5"'
    )
    return 0
