"""Reads the settings of the notification channels.

The values are secrets, because everybody who knows a ping address or a topic can use it. So no
error message repeats a value.
"""

import re
from typing import Final

JOBS: Final = ("poll", "rollup", "prune")
EVENTS: Final = ("failed", "recovered", "stale")
# Channels that have an address; the command is the fourth channel.
CHANNELS: Final = ("healthchecks", "uptime_kuma", "ntfy")
# Replaced in an address by the name of the job.
PLACEHOLDER: Final = "{job}"

Urls = tuple[tuple[str, str], ...]
_EXAMPLE: Final = "a web address like https://example.org/..."


def urls(value: object) -> Urls:
    """Return the address for each job, as pairs.

    Args:
        value: An address for polls; an address with ``{job}``, for each job;
            ``poll=ADDRESS rollup=ADDRESS``, or the same as a mapping; "" for none.

    Raises:
        ValueError: The value is none of these; the text does not repeat it.
    """
    if value == "":
        return ()
    if isinstance(value, dict):
        pairs = [(str(job), str(address)) for job, address in value.items()]
    elif not isinstance(value, str):
        raise ValueError(f"is neither {_EXAMPLE} nor a mapping of jobs to such addresses")
    elif re.match(rf"\s*({'|'.join(JOBS)})=", value):
        pairs = [(word.partition("=")[0], word.partition("=")[2]) for word in value.split()]
    else:
        address = value.strip()
        jobs = JOBS if PLACEHOLDER in address else JOBS[:1]
        pairs = [(job, address.replace(PLACEHOLDER, job)) for job in jobs]
    for job, address in pairs:
        if job not in JOBS:
            raise ValueError(f"names an unknown job; jobs are {', '.join(JOBS)}")
        _check(address)
    if len(dict(pairs)) != len(pairs):
        raise ValueError("names a job twice")
    return tuple(pairs)


def topic(value: object) -> str:
    """Return the address of an ntfy topic, "" for none; ValueError if it names no topic."""
    if value == "":
        return ""
    from urllib.parse import urlsplit

    address = str(value).strip()
    _check(address)
    if not urlsplit(address).path.strip("/"):
        raise ValueError("names no topic; write it like https://ntfy.sh/TOPIC")
    return address.rstrip("/")


def token(value: object) -> str:
    """Return an access token, "" for none; ValueError if it cannot be one."""
    text = str(value).strip()
    if not text.isascii() or len(text.split()) > 1:
        raise ValueError("is not an access token: letters and digits without spaces")
    return text


def command(value: object) -> tuple[str, ...]:
    """Return the arguments of a command, () for none; a text is run by the shell.

    Raises:
        ValueError: The value is neither a text nor a list, or empty.
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
    from urllib.parse import urlsplit  # imported only where such a setting is set

    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError(f"is not {_EXAMPLE}")
