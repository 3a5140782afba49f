"""What the declarations of commands share: options, help, how a call of one begins and ends."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from luxcli.cli.session import Session

HELP_OPTIONS: Any = {"help_option_names": ["-h", "--help"]}
_SESSION = "luxcli.cli.session"


class Group(TyperGroup):
    """Gives each call of a command its `Session`, which turns failures into exit statuses."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command named on the command line."""
        ctx.meta[_SESSION] = session = Session()

        def work() -> int:
            try:
                super(Group, self).invoke(ctx)
            except typer.Exit as exc:
                return exc.exit_code
            return 0

        raise typer.Exit(session.run(work))


def session_of(ctx: typer.Context) -> Session:
    """Return the session of a call, with the words of its command."""
    session: Session = ctx.meta[_SESSION]
    session.command = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
    return session


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="LUXCLI_CONFIG",
        readable=False,  # `config` says so if it is not
        help="Configuration file; by default ./luxcli.yaml, $XDG_CONFIG_HOME/luxcli/config.yaml"
        " or /etc/luxcli/config.yaml, whichever is found first.",
        show_default=False,
    ),
]
LevelOption = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def epilog(statuses: str, example: str) -> str:
    """Return how each help text ends."""
    return f"\b\nExit status: {statuses}.\nExample: {example}"
