"""Declares commands with Typer: their options, their exit statuses, their session."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer
from typer.core import TyperGroup

from luxcli.cli.options import Option
from luxcli.cli.session import Session

HELP_OPTIONS: Any = {"help_option_names": ["-h", "--help"]}
_SESSION = "luxcli.cli.session"
_Function = TypeVar("_Function", bound=Callable[..., int])


class Group(TyperGroup):
    """Typer's group of all commands; gives each run a `Session`, which makes the exit status.

    What `__main__` gives to Typer as `obj` arms the watchdog; in another program it is None.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command named on the command line."""
        ctx.meta[_SESSION] = session = Session(arm_watchdog=ctx.obj)

        def work() -> int:
            try:
                super(Group, self).invoke(ctx)
            except typer.Exit as exc:
                return exc.exit_code
            return 0

        raise typer.Exit(session.run(work))


def session_of(ctx: typer.Context) -> Session:
    """Return the session of a run, with the name of its command."""
    session: Session = ctx.meta[_SESSION]
    session.command = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
    return session


def group(help_text: str, epilog: str) -> typer.Typer:
    """Return a group of commands that shows its help when none of them is named."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=help_text, epilog=epilog)


def command(
    app: typer.Typer, name: str, *, epilog: str, help_text: str | None = None
) -> Callable[[_Function], _Function]:
    """Return a decorator that makes a function a command of `app`.

    The function takes the session first, then the options by name, and returns the exit
    status. Its docstring is the help text.

    Args:
        app: The program or a group of commands.
        name: The word on the command line.
        epilog: The end of its help text, from `options.epilog`.
        help_text: The help text, if it is not the docstring.
    """

    def declare(function: _Function) -> _Function:
        @functools.wraps(function)
        def run(ctx: typer.Context, **options: Any) -> None:
            raise typer.Exit(function(session_of(ctx), **options))

        _set_parameters(run, function)
        app.command(name, help=help_text, epilog=epilog)(run)
        return function

    return declare


def _set_parameters(run: Callable[..., None], function: Callable[..., int]) -> None:
    """Let Typer see the parameters of `function` as those of `run`, without the session."""
    context = inspect.Parameter(
        "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    _session, *options = inspect.signature(function, eval_str=True).parameters.values()
    declared = [option.replace(annotation=_typer_annotation(option)) for option in options]
    run.__signature__ = inspect.Signature([context, *declared])  # type: ignore[attr-defined]  # read by inspect
    run.__annotations__ = {one.name: one.annotation for one in (context, *declared)}


def _typer_annotation(parameter: inspect.Parameter) -> Any:
    """Return the annotation of a parameter with Typer's declaration in place of our `Option`."""
    annotation = parameter.annotation
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, option = get_args(annotation)
    if not isinstance(option, Option):
        return annotation
    declared = typer.Option(
        *(option.names or (f"--{parameter.name.replace('_', '-')}",)),
        help=option.help,
        metavar=option.metavar,
        min=option.minimum,
        envvar=option.variable,
        readable=False,  # a file that cannot be read is reported by the command, in its own words
        show_default=False,
    )
    return Annotated[kind, declared]
