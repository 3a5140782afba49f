"""Runs what is scheduled most often without the option parser, where the call is a plain one.

Loading Typer and parsing with it takes twice as long as a poll, 2,880 times a day, and a seventh
of a weekly report. Whatever is not understood here at first sight, such as ``--help``, a typing
error or an option given twice, is left to the declarations in `cli`: those alone say what is right
and what is not.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from luxcli.cli.session import Session

# Options of all commands here, with a value or without, and the parameters that they give.
_VALUED: Final = {"-c": "config_path", "--config": "config_path", "--log-level": "log_level"}
_FLAGS: Final = {"--json": "as_json"}
_ROLLUPS: Final = ("daily", "weekly", "all")
# Those of one command.
_ITS_VALUED: Final[Mapping[str, Mapping[str, str]]] = {
    "poll-once": {"--every": "every", "--count": "count"},
    "status": {"--max-age": "max_age"},
    "rollup": {"--date": "ending"},
}
_ITS_FLAGS: Final[Mapping[str, Mapping[str, str]]] = {
    "rollup": {"--if-due": "if_due", "--strict": "strict"}
}
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
    command, parameters = call
    session = Session(command)
    work = _work(command)
    return session.run(lambda: work(session, **parameters))


def parsed(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
    """Return the command and its parameters, None where that is for the option parser to say."""
    if not argv or argv[0] not in _ITS_VALUED or _COMPLETION in environ:
        return None
    first = argv[0]
    words = 1
    if first == "rollup":
        words = 2
        if len(argv) < words or argv[1] not in _ROLLUPS:
            return None
    found: dict[str, Any] = {}
    rest = iter(argv[words:])
    for word in rest:
        value: str | bool = True
        name = _FLAGS.get(word) or _ITS_FLAGS.get(first, {}).get(word)
        if name is None:
            option, equals, value = word.partition("=")
            name = _VALUED.get(option) or _ITS_VALUED[first].get(option)
            if not equals:
                value = next(rest, "")
            elif option == "-c":  # means a file of the name "=..."
                return None
            if not value or value.startswith("-"):
                return None
        if name is None or name in found:
            return None
        found[name] = value
    return _typed(" ".join(argv[:words]), found, environ)


def _typed(
    command: str, found: dict[str, Any], environ: Mapping[str, str]
) -> tuple[str, dict[str, Any]] | None:
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


def _work(command: str) -> Callable[..., int]:
    first, _, what = command.partition(" ")
    if first == "rollup":
        from luxcli.cli import rollup_steps

        return partial(rollup_steps.roll_up, what=cast("rollup_steps.What", what))
    from luxcli.cli.commands import poll_once

    return poll_once.poll_once if first == "poll-once" else poll_once.status
