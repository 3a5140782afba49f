"""How the settings that say whom to tell are read.

Their values are secrets: whoever has a ping address or a topic can use it. So no message here
repeats one.
"""

import re
from typing import Final

JOBS: Final = ("poll", "rollup", "prune")
EVENTS: Final = ("failed", "recovered", "stale")
# Those that have an address; beside them there is the command.
CHANNELS: Final = ("healthchecks", "uptime_kuma", "ntfy")
# Stands in an address for the name of the job.
PLACE: Final = "{job}"

Urls = tuple[tuple[str, str], ...]
_EXAMPLE: Final = "a web address like https://example.org/..."


def urls(value: object) -> Urls:
    """Return the address for each job, as pairs.

    Args:
        value: One address, which is for polls, or with ``{job}`` in it for each job; or
            ``poll=ADDRESS rollup=ADDRESS``, or the same as a mapping; "" for none.

    Raises:
        ValueError: It is no such thing; says nothing of the value.
    """
    if value == "":
        return ()
    if isinstance(value, dict):
        pairs = [(str(job), str(address)) for job, address in value.items()]
    elif not isinstance(value, str):
        raise ValueError(f"is neither {_EXAMPLE} nor one for each job")
    elif re.match(rf"\s*({'|'.join(JOBS)})=", value):
        pairs = [(word.partition("=")[0], word.partition("=")[2]) for word in value.split()]
    else:
        address = value.strip()
        jobs = JOBS if PLACE in address else JOBS[:1]
        pairs = [(job, address.replace(PLACE, job)) for job in jobs]
    for job, address in pairs:
        if job not in JOBS:
            raise ValueError(f"there is no job of that name; jobs are {', '.join(JOBS)}")
        _check(address)
    if len(dict(pairs)) != len(pairs):
        raise ValueError("names a job twice")
    return tuple(pairs)


def topic(value: object) -> str:
    """Return the address of an ntfy topic, "" for none; ValueError when it is no such address."""
    if value == "":
        return ""
    from urllib.parse import urlsplit

    address = str(value).strip()
    _check(address)
    if not urlsplit(address).path.strip("/"):
        raise ValueError("names no topic; it is like https://ntfy.sh/TOPIC")
    return address.rstrip("/")


def token(value: object) -> str:
    """Return an access token, "" for none; ValueError when it cannot be one."""
    text = str(value).strip()
    if not text.isascii() or len(text.split()) > 1:
        raise ValueError("is not an access token: letters and digits without spaces")
    return text


def command(value: object) -> tuple[str, ...]:
    """Return a command as its arguments, () for none; a text is one for the shell.

    Raises:
        ValueError: It is neither a text nor a list of texts, or empty.
    """
    if value == "":
        return ()
    if isinstance(value, str):
        arguments: tuple[str, ...] = ("/bin/sh", "-c", value)
    elif isinstance(value, list | tuple):
        arguments = tuple(map(str, value))
    else:
        raise ValueError("is neither a text nor a list of arguments")
    if not arguments or not arguments[-1 if isinstance(value, str) else 0].strip():
        raise ValueError("is empty")
    return arguments


def _check(address: str) -> None:
    from urllib.parse import urlsplit  # only who has such a setting pays for it

    try:
        parts = urlsplit(address)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError(f"is not {_EXAMPLE}")
