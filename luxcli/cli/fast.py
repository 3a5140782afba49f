"""Fast path for `poll-once` and `status`.

Simple command lines are parsed here, because importing Typer takes longer than a poll, which the
scheduler starts 2,880 times a day. Everything else is left to Typer: help, mistakes, options given
twice. Options are those that the function of a command declares.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from luxcli.cli.options import Option
from luxcli.cli.session import Session

# Command -> its module and function.
_COMMANDS: Final = {
    "poll-once": ("luxcli.cli.commands.poll_once", "poll_once"),
    "status": ("luxcli.cli.commands.status", "status"),
}
# Set by the shell when it asks for completions, which Typer gives.
_COMPLETION: Final = "_LUXCLI_COMPLETE"


class Call(NamedTuple):
    """A command line that was understood.

    Attributes:
        command: Name of the command.
        function: Runs it; takes the session, then the options, and returns the exit status.
        options: By parameter.
    """

    command: str
    function: Callable[..., int]
    options: dict[str, Any]


def run(
    argv: Sequence[str],
    environ: Mapping[str, str],
    arm_watchdog: Callable[[float], object] | None = None,
) -> int | None:
    """Run a simple command line of `poll-once` or `status`; return None if Typer has to do it.

    Args:
        argv: The arguments, without the program.
        environ: Usually ``os.environ``.
        arm_watchdog: Called with the seconds after which a job has to be ended.

    Returns:
        The exit status.
    """
    call = parse(argv, environ)
    if call is None:
        return None
    session = Session(call.command, arm_watchdog=arm_watchdog)
    return session.run(lambda: call.function(session, **call.options))


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Call | None:
    """Return the call that a command line means, None if it is for Typer to judge."""
    if not argv or argv[0] not in _COMMANDS or _COMPLETION in environ:
        return None
    module, name = _COMMANDS[argv[0]]
    function: Callable[..., int] = getattr(importlib.import_module(module), name)
    known = _options_of(function)
    options: dict[str, Any] = {}
    rest = iter(argv[1:])
    for word in rest:
        option, equals, value = word.partition("=")
        if option not in known or (equals and not option.startswith("--")):
            return None  # "-c=x" means a file of the name "=x"
        parameter, kind, declared = known[option]
        if parameter in options or (equals and kind is bool):
            return None
        if kind is bool:
            options[parameter] = True
            continue
        converted = _convert(value if equals else next(rest, ""), kind, declared)
        if converted is None:
            return None
        options[parameter] = converted
    for parameter, kind, declared in known.values():
        if parameter not in options and declared.variable and environ.get(declared.variable):
            options[parameter] = kind(environ[declared.variable])
    return Call(argv[0], function, options)


def _options_of(function: Callable[..., int]) -> dict[str, tuple[str, type, Option]]:
    """Return parameter, type and declaration of each option by its spellings."""
    known = {}
    for parameter, annotation in function.__annotations__.items():
        for option in getattr(annotation, "__metadata__", ()):
            kinds = get_args(annotation.__origin__) or (annotation.__origin__,)
            for name in option.names or (f"--{parameter.replace('_', '-')}",):
                known[name] = (parameter, kinds[0], option)
    return known


def _convert(text: str, kind: type, option: Option) -> str | int | Path | None:
    """Return the value of an option, None if Typer has to judge it."""
    if not text or text.startswith("-"):
        return None
    if kind is not int:
        return Path(text) if kind is Path else text
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return None if option.minimum is not None and number < option.minimum else number
