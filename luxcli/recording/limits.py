"""How long a job may take before the watchdog ends it."""

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
# Measured on a processor of which a Raspberry Pi 4 has about a fifth of the speed, for the million
# polls of a year: to put them back 140 s, to judge them 70 s. So a Raspberry Pi restores ten years
# in two hours and judges a year in six minutes. What `restore` has put back stays. `diagnose` waits
# for SQLite to look through at most 500 MB, and for the heat pump.
_LIMITS_S: Final = {
    "rollup": 7200.0,
    "prune": 3600.0,
    "restore": 43_200.0,
    "validate": 10_800.0,
    "diagnose": 1800.0,
    "repair": 10_800.0,
}


def limit_s(job: str, config: Config) -> float:
    """Return the time limit of a job in seconds: of a poll, or of one of `_LIMITS_S`."""
    if job == "poll":
        from luxcli.controller import client

        return client.longest_s(config.timeout_sec, config.retries) + _BESIDE_POLL_S
    return _LIMITS_S[job]


def gone_after_s(job: str, config: Config) -> float:
    """Return the seconds after which the watchdog has killed a job that hangs."""
    return limit_s(job, config) + GRACE_S
