"""Runs supercronic as the main process of a container, and passes SIGTERM on to its jobs.

On SIGTERM supercronic starts no further jobs and waits for the running ones, for minutes if a
controller is silent, but sends them no signal. Docker kills everything after 10 seconds, and an
interrupted poll would leave no record. So the jobs get a moment to end, which is enough for a
healthy poll, and then SIGTERM, upon which a poll records that it was interrupted.

The process stays in memory for years. It is therefore a program of its own
(``python -I -S supervisor.py``) that imports only what the interpreter has loaded anyway.
"""

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# From the stop to the SIGTERM for jobs. A healthy poll ends within it even on a Raspberry Pi, and
# the rest of Docker's 10 seconds is enough for an interrupted poll to record the reason.
PATIENCE_S = 3
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
# Python ignores these signals, and a child inherits what its parent ignores.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)


def supervise(command: list[str], *, patience_s: int = PATIENCE_S) -> int:
    """Run a scheduler until it ends or this process receives a signal to stop.

    Args:
        command: The absolute path of the scheduler and its arguments. The scheduler must start
            each job as the leader of a new process group.
        patience_s: Seconds that jobs have to end by themselves; a second signal ends the wait.

    Returns:
        The exit status of the scheduler, 128 plus the signal if one killed it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until the scheduler runs
    scheduler = os.posix_spawn(
        command[0], command, os.environ, setsigmask=(), setsigdef=(*STOPS, *_IGNORED)
    )
    stopping = False

    def stop(_signum: int, _frame: object) -> None:
        nonlocal stopping
        if stopping:  # the second signal
            end_jobs()
        stopping = True
        _terminate(os.kill, scheduler)
        signal.alarm(patience_s)

    def end_jobs(_signum: int = 0, _frame: object = None) -> None:
        for group in _groups(scheduler):
            _terminate(os.killpg, group)

    signal.signal(signal.SIGALRM, end_jobs)
    for number in STOPS:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    while True:
        # Any child: the first process of a container inherits orphans.
        process, status = os.waitpid(-1, 0)
        if process == scheduler:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _terminate(send: "Callable[[int, int], None]", target: int) -> None:
    try:  # noqa: SIM105  contextlib would be an import
        send(target, signal.SIGTERM)
    except ProcessLookupError:
        pass


def _groups(parent: int) -> list[int]:
    """Return the process groups led by children of `parent`; none without /proc."""
    groups = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            with open(f"/proc/{int(name)}/stat", "rb") as file:
                # The name is in brackets and may have any character; state, parent, group follow.
                _state, its_parent, group = file.read().rpartition(b")")[2].split()[:3]
        except (OSError, ValueError):  # the process has ended, or the name is not a number
            continue
        if int(its_parent) == parent and group.decode() == name:
            groups.append(int(group))
    return groups


if __name__ == "__main__":
    raise SystemExit(supervise(sys.argv[1:]))
