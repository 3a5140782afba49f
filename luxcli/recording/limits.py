"""How long a scheduled job may take before the watchdog ends it."""

from typing import Final

from luxcli.config.config import Config
from luxcli.system.watchdog import GRACE_S

# The locks of the heat pump (5 s each), those of the storage (20 s each for the poll, for the
# reason why there is none and for the buffer) and a slow disk.
_BESIDE_POLL_S: Final = 90.0
# So long a run for the polls of a minute may go on into the next ones (`pacing`). Others are told
# of it at its end, so not longer.
MINUTES_S: Final = 300
# Minutes on a small machine, for a year's cache that has to be salvaged.
_LIMITS_S: Final = {"rollup": 7200.0, "prune": 3600.0}


def limit_s(job: str, config: Config) -> float:
    """Return the seconds after which a job (poll, rollup or prune) is ended."""
    if job == "poll":
        from luxcli.controller import client

        return client.longest_s(config.timeout_sec, config.retries) + _BESIDE_POLL_S
    return _LIMITS_S[job]


def gone_after_s(job: str, config: Config) -> float:
    """Return the seconds after which a job's process is gone, whatever hangs."""
    return limit_s(job, config) + GRACE_S
