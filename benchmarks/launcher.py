"""Starts processes for `processes`: small, since a child inherits its parent's peak memory.

Linux counts the memory that a process had before `exec` into its ru_maxrss, which is that of its
parent. This one runs as ``python -I -S launcher.py`` and imports nothing, so its peak is below that
of anything that is measured. A request is a line with the lengths of the fields that follow it:
output file, directory, arguments behind a number, environment; the answer is one line.
"""

import os
import sys
import time


def _fields(line: bytes) -> list[bytes]:
    return [sys.stdin.buffer.read(int(length)) for length in line.split()]


def main() -> None:
    """Start what is asked for, one process after the other, until stdin ends."""
    while line := sys.stdin.buffer.readline():
        output, directory, count, *rest = _fields(line)
        arguments, environment = rest[: int(count)], rest[int(count) :]
        variables = dict(entry.split(b"=", 1) for entry in environment)
        os.chdir(directory)
        opened = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, opened, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        began = time.monotonic()
        pid = os.posix_spawn(arguments[0], arguments, variables, file_actions=actions)
        _, status, used = os.wait4(pid, 0)
        took = time.monotonic() - began
        os.chdir("/")  # keeps no file system busy
        code = os.waitstatus_to_exitcode(status)
        print(code, used.ru_utime + used.ru_stime, used.ru_maxrss, took, flush=True)


main()
