"""How long a scheduled job may take before the watchdog ends it."""

from typing import Final

from luxcli.config.config import Config
from luxcli.system.watchdog import GRACE_S

# Two locks of the heat pump (5 s each), three of the store (20 s each: for the poll, for the reason
# why there is none, and for a flush) and a slow disk.
_BESIDE_POLL_S: Final = 90.0
# How long a run for the polls of a minute may go on into the next minutes (`pacing`). Its
# notifications are sent when it ends, so not longer.
MINUTES_S: Final = 300
# How long after its scheduled time a poll may be taken: the longest poll, after the longest run.
LATEST_S: Final = 4 * 3600
# A small machine takes many minutes to recover a damaged database of a year.
_LIMITS_S: Final = {"rollup": 7200.0, "prune": 3600.0}


def limit_s(job: str, config: Config) -> float:
    """Return the time limit of a job (poll, rollup or prune), seconds."""
    if job == "poll":
        from luxcli.controller import client

        return client.longest_s(config.timeout_sec, config.retries) + _BESIDE_POLL_S
    return _LIMITS_S[job]


def gone_after_s(job: str, config: Config) -> float:
    """Return the seconds after which the watchdog has killed a job that hangs."""
    return limit_s(job, config) + GRACE_S
