"""Edits a block of lines in the crontab of the user who runs luxcli, and nothing else in it."""

import os
import re
import subprocess
from typing import Final

from luxcli.errors import ConfigError, StorageError

BEGIN: Final = "# BEGIN luxcli"
END: Final = "# END luxcli"
_LIMIT_S: Final = 10.0
# A line that polls, and its configuration file.
_POLLS: Final = re.compile(rb"^[^#\n].* poll-once .*--config (.+)$", re.MULTILINE)
# Messages of Debian's and cronie's command, and of busybox, for a user without a crontab. busybox
# begins the message alike when it may not read the crontab.
_NONE_YET: Final = re.compile(r"no crontab for|can't open .*: No such file")


def marked(lines: str) -> str:
    """Return the lines between the markers."""
    return f"{BEGIN}\n{lines}{END}\n"


def with_block(crontab: bytes, lines: str) -> bytes:
    """Return the crontab with `lines` between markers, in place of the present block.

    Raises:
        ConfigError: The markers in the crontab are broken.
    """
    found = _block(crontab)
    if found is None:
        gap = b"" if not crontab or crontab.endswith(b"\n") else b"\n"
        return crontab + gap + _bytes(lines)
    start, stop = found
    return crontab[:start] + _bytes(lines) + crontab[stop:]


def _bytes(lines: str) -> bytes:
    return os.fsencode(marked(lines))  # a path may have bytes that are not UTF-8


def without_block(crontab: bytes) -> bytes:
    """Return the crontab without the block.

    Raises:
        ConfigError: The markers in the crontab are broken.
    """
    start, stop = _block(crontab) or (0, 0)
    return crontab[:start] + crontab[stop:]


def foreign_polls(crontab: bytes) -> list[int]:
    """Return the numbers of lines outside the block that start polls."""
    start, stop = _block(crontab) or (0, 0)
    found, position = [], 0
    for number, line in enumerate(crontab.splitlines(keepends=True), 1):
        inside = start <= position < stop
        if b"luxcli" in line and b"poll-once" in line and not inside and line.lstrip()[:1] != b"#":
            found.append(number)
        position += len(line)
    return found


def other_configuration(crontab: bytes, lines: str) -> str | None:
    """Return the configuration file of the present block if `lines` have another one."""
    start, stop = _block(crontab) or (0, 0)
    before = _POLLS.search(crontab[start:stop].replace(b"\r\n", b"\n"))
    after = _POLLS.search(os.fsencode(lines))
    if before is None or after is None or before[1] == after[1]:
        return None
    return os.fsdecode(before[1])


def read() -> bytes:
    """Return the crontab, empty if there is none.

    Raises:
        StorageError: The crontab cannot be read, or there is no cron.
    """
    done = _run("-l")
    if done.returncode == 0:
        return done.stdout
    message = done.stderr.decode(errors="replace").strip()
    if _NONE_YET.search(message):
        return b""
    raise StorageError(f"crontab -l: {message or f'status {done.returncode}'}")


def write(crontab: bytes) -> None:
    """Replace the crontab; an empty one is removed.

    Raises:
        StorageError: cron refused it, or it reads back differently.
    """
    done = _run("-", crontab) if crontab else _run("-r")
    if done.returncode:
        message = " ".join(done.stderr.decode(errors="replace").split())
        raise StorageError(f"crontab: refused, nothing was changed: {message}")
    if read() != crontab:
        raise StorageError("crontab accepted the change but reads back differently: crontab -l")


def _block(crontab: bytes) -> tuple[int, int] | None:
    """Return the positions where the block begins and ends, None if there is no block."""
    begins, ends, position = [], [], 0
    for number, line in enumerate(crontab.splitlines(keepends=True), 1):
        if line.strip() == BEGIN.encode():
            begins.append((number, position))
        position += len(line)
        if line.strip() == END.encode():
            ends.append((number, position))
    if not begins and not ends:
        return None
    if len(begins) == len(ends) == 1 and begins[0] < ends[0]:
        return begins[0][1], ends[0][1]
    where = ", ".join(str(number) for number, _ in sorted(begins + ends))
    raise ConfigError(
        [
            f"crontab: the markers '{BEGIN}' and '{END}' do not belong together (line {where}),"
            " nothing was changed; correct them with 'crontab -e'"
        ]
    )


def _run(argument: str, given: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603  the arguments are constants
            ["crontab", argument],  # noqa: S607  its path differs between systems
            input=given,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        raise StorageError(
            "crontab: no such command; install cron, or use 'luxcli schedule systemd'"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise StorageError(f"crontab {argument}: {exc}") from exc
