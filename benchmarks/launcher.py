"""Starts the measured processes for `processes.Launcher`, from a process smaller than any of them.

Linux counts the memory that a process had before `exec` into its ru_maxrss, and that is the memory
of its parent. This program is run as ``python -I -S launcher.py`` and imports nothing, so its peak
is below the peak of everything that is measured.

A request is a line with the lengths of the fields that follow it: output file, directory, number of
arguments, the arguments, the environment. The answer is one line: exit status, CPU time in s, peak
memory in kB, wall time in s.
"""

import os
import sys
import time


def _read_fields(line: bytes) -> list[bytes]:
    return [sys.stdin.buffer.read(int(length)) for length in line.split()]


def main() -> None:
    """Run one process after the other, until stdin ends."""
    while line := sys.stdin.buffer.readline():
        output, directory, count, *rest = _read_fields(line)
        arguments, environment = rest[: int(count)], rest[int(count) :]
        variables = dict(entry.split(b"=", 1) for entry in environment)
        os.chdir(directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, b"/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        began = time.monotonic()
        pid = os.posix_spawn(arguments[0], arguments, variables, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        wall_s = time.monotonic() - began
        os.chdir("/")  # a file system that is a current directory cannot be unmounted
        code = os.waitstatus_to_exitcode(status)
        print(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, wall_s, flush=True)


main()
