"""The roll-up commands: their options and help; `rollup` does the work."""

from typing import Annotated

import typer

from luxcli.cli import rollup_steps
from luxcli.cli.declare import ConfigOption, JsonOption, LevelOption, epilog, session_of

_ROLLUP_STATUSES = (
    "0 done; 2 wrong usage; 3 done, with findings to act on; 65 nothing stored for --date;"
    " 74 storage; 75 another roll-up at work; 78 configuration; 142 took too long"
)
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write the daily or weekly CSV.",
    epilog=epilog(_ROLLUP_STATUSES, "luxcli rollup all --if-due"),
)
DateOption = Annotated[
    str | None,
    typer.Option(
        "--date",
        metavar="YYYY-MM-DD",
        help="The closed period that ends on this local date at csv_time.",
    ),
]
DueOption = Annotated[
    bool,
    typer.Option("--if-due", help="Every closed period since the last one; for the scheduler."),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="End with 3 if more than 5 % of the polls are missing or a day's data has problems.",
    ),
]


def _declare(what: rollup_steps.What, text: str, example: str) -> None:
    @app.command(what, help=text, epilog=epilog(_ROLLUP_STATUSES, f"luxcli rollup {example}"))
    def command(
        ctx: typer.Context,
        ending: DateOption = None,
        if_due: DueOption = False,
        strict: StrictOption = False,
        config_path: ConfigOption = None,
        log_level: LevelOption = None,
        as_json: JsonOption = False,
    ) -> None:
        status = rollup_steps.roll_up(
            session_of(ctx),
            what,
            ending=ending,
            if_due=if_due,
            strict=strict,
            config_path=config_path,
            log_level=log_level,
            as_json=as_json,
        )
        raise typer.Exit(status)


_declare(
    "daily",
    "Write the CSV of the last 24 hours, of a closed day, or of all days that are due.",
    "daily --if-due",
)
_declare(
    "weekly",
    "Write the CSV of the last 7 days, of a closed week, or of all weeks that are due.",
    "weekly --date 2026-11-23",
)
_declare("all", "Write the daily and the weekly CSV, then remove CSVs that are too old.", "all")
