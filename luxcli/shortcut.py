"""Runs what is scheduled most often without the option parser, where the call is a plain one.

Loading Typer and parsing with it takes twice as long as the poll itself, 2,880 times a day.
Whatever is not understood here at first sight, such as ``--help``, a typing error or an option
given twice, is left to the declarations in `cli`: those alone say what is right and what is not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_COMMANDS: Final = ("poll-once", "status")
# Options with a value, and the parameters that they give.
_VALUED: Final = {
    "-c": "config_path",
    "--config": "config_path",
    "--log-level": "log_level",
    "--every": "every",
    "--count": "count",
    "--max-age": "max_age",
}
_OF_ONE: Final = {"every": "poll-once", "count": "poll-once", "max_age": "status"}
# Asks for the shell's completion, which is the option parser's.
_COMPLETION: Final = "_LUXCLI_COMPLETE"


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int | None:
    """Run the command if it is a plain call of one known here; return its exit status, else None.

    Args:
        argv: The arguments, without the program.
        environ: Usually ``os.environ``.
    """
    call = parsed(argv, environ)
    if call is None:
        return None
    from luxcli import scheduled
    from luxcli.session import Session

    command, parameters = call
    session = Session(command)
    work = scheduled.poll_once if command == "poll-once" else scheduled.status
    return session.run(lambda: work(session, **parameters))


def parsed(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
    """Return the command and its parameters, None where that is for the option parser to say."""
    if not argv or argv[0] not in _COMMANDS or _COMPLETION in environ:
        return None
    found: dict[str, Any] = {}
    rest = iter(argv[1:])
    for word in rest:
        if word == "--json":
            name, value = "as_json", "yes"
        else:
            option, equals, value = word.partition("=")
            name = _VALUED.get(option, "")
            if not equals:
                value = next(rest, "")
            elif option == "-c":  # means a file of the name "=..."
                return None
        if name in found or not name or _OF_ONE.get(name, argv[0]) != argv[0]:
            return None
        if not value or value.startswith("-"):
            return None
        found[name] = value
    return _typed(argv[0], found, environ)


def _typed(
    command: str, found: dict[str, Any], environ: Mapping[str, str]
) -> tuple[str, dict[str, Any]] | None:
    if "as_json" in found:
        found["as_json"] = True
    if "count" in found:
        if not found["count"].isascii() or not found["count"].isdigit():
            return None
        found["count"] = int(found["count"])
        if found["count"] < 1:
            return None
    file = found.get("config_path") or environ.get("LUXCLI_CONFIG")
    if file:
        found["config_path"] = Path(file)
    return command, found
