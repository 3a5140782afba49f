"""Runs supercronic and ends its jobs with it: the process a container consists of.

On SIGTERM supercronic starts nothing more and waits for the jobs that run, for minutes if a
controller is silent, and tells them nothing. Docker kills everything after 10 seconds, and then the
poll that ran has left no trace. So jobs get a moment to end by themselves, as a healthy poll does,
and SIGTERM after that, upon which a poll records that it was interrupted.

It stays in memory for years, so it is a program of its own (``python -I -S supervisor.py``) and
imports nothing but what the interpreter has loaded anyway.
"""

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# From the stop to the SIGTERM for jobs. A healthy poll ends within it on a Raspberry Pi, too, and
# enough of Docker's 10 seconds is left for one that has to record why it did not.
PATIENCE_S = 3
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
# Python ignores these, and what a process ignores its children ignore.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)


def supervise(command: list[str], *, patience_s: int = PATIENCE_S) -> int:
    """Run a scheduler until it ends or this process is told to stop.

    Args:
        command: An absolute path and its arguments. It has to start each job as the leader of a
            process group of its own.
        patience_s: What jobs get to end by themselves; a second signal ends it.

    Returns:
        Its exit status; 128 and the signal that killed it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until there is something to stop
    scheduler = os.posix_spawn(
        command[0], command, os.environ, setsigmask=(), setsigdef=(*STOPS, *_IGNORED)
    )
    stopping = False

    def stop(_signum: int, _frame: object) -> None:
        nonlocal stopping
        if stopping:  # somebody is in a hurry
            end_jobs()
        stopping = True
        _tell(os.kill, scheduler)
        signal.alarm(patience_s)

    def end_jobs(_signum: int = 0, _frame: object = None) -> None:
        for group in _groups(scheduler):
            _tell(os.killpg, group)

    signal.signal(signal.SIGALRM, end_jobs)
    for number in STOPS:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    while True:
        # Any child: the first process of a container inherits those whose parents are gone.
        process, status = os.waitpid(-1, 0)
        if process == scheduler:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _tell(send: "Callable[[int, int], None]", target: int) -> None:
    try:  # noqa: SIM105  contextlib would be an import
        send(target, signal.SIGTERM)
    except ProcessLookupError:
        pass


def _groups(parent: int) -> list[int]:
    """Return the process groups that children of `parent` lead, where there is a /proc."""
    groups = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            with open(f"/proc/{int(name)}/stat", "rb") as file:
                # The name, which may hold anything, is in brackets; state, parent, group follow.
                _state, its_parent, group = file.read().rpartition(b")")[2].split()[:3]
        except (OSError, ValueError):  # gone, or no process at all
            continue
        if int(its_parent) == parent and group.decode() == name:
            groups.append(int(group))
    return groups


if __name__ == "__main__":
    raise SystemExit(supervise(sys.argv[1:]))
