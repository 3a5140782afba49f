"""Which notification follows which result: sequences of runs, and what the channels receive.

Every row is a run of a job: when it ended, how, and what Healthchecks (a request path) and ntfy (a
title) received for it. Both are servers on real sockets that refuse where a row says so.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from luxcli.config import config
from luxcli.monitoring import monitor
from luxcli.store.store import Store
from tests.support.builders import small
from tests.support.listener import Listener, listening

NOW_MS = 1_800_000_000_000
STATUSES = {"good": 0, "failed": 69, "busy": 75, "stopped": 143}
# The answers of Healthchecks and of ntfy.
ANSWERS = {"all": (200, 200), "none": (500, 500), "healthchecks": (200, 500), "ntfy": (500, 200)}
PING = "/ping/poll"
FAIL = "/ping/poll/69"
STALE = "/ping/poll/fail"


class Run(NamedTuple):
    """The end of one run.

    Attributes:
        minute: When it ended.
        job: poll, rollup or prune.
        result: A key of `STATUSES`; "by hand" for a good poll that reports nothing.
        received: What arrived: request paths at Healthchecks, titles at ntfy.
        accepted_by: Who accepts what arrives, a key of `ANSWERS`.
    """

    minute: float
    job: str
    result: str
    received: tuple[str, ...]
    accepted_by: str


def run(minute: float, job: str, result: str, *received: str, accepted_by: str = "all") -> Run:
    return Run(minute, job, result, received, accepted_by)


def poll(minute: float, result: str, *received: str, accepted_by: str = "all") -> Run:
    return run(minute, "poll", result, *received, accepted_by=accepted_by)


SEQUENCES: dict[str, list[Run]] = {
    "a good poll every five minutes": [
        poll(0, "good", PING),
        poll(1, "good"),
        poll(4.9, "good"),
        poll(5, "good", PING),
        poll(7, "good"),
    ],
    "the first failure at once, then hourly, the recovery at once": [
        poll(0, "good", PING),
        poll(1, "failed", FAIL, "poll failed"),
        poll(2, "failed"),
        poll(60, "failed", STALE, "poll stale"),
        poll(61, "failed"),
        poll(119, "failed"),
        poll(120, "failed", STALE, "poll stale"),
        poll(121, "good", PING, "poll recovered"),
        poll(122, "good"),
        poll(126, "good", PING),
    ],
    "a recovery right after a success was reported": [
        poll(0, "good", PING),
        poll(1, "failed", FAIL, "poll failed"),
        poll(2, "good", PING, "poll recovered"),
        poll(3, "good"),
        poll(7, "good", PING),
    ],
    "stale is reported once an hour, though polls made by hand end it meanwhile": [
        poll(0, "good", PING),
        run(31, "rollup", "good", "/ping/rollup", STALE, "poll stale"),
        poll(85, "by hand"),
        poll(91, "failed", FAIL, "poll failed"),
        poll(116, "failed"),
        poll(151, "failed", STALE, "poll stale"),
    ],
    "the first failure ever, of polls that never worked": [
        poll(0, "failed", FAIL, "poll failed"),
        poll(59, "failed"),
        poll(60, "failed", FAIL, "poll failed"),
        poll(121, "failed", FAIL, "poll failed"),
        poll(122, "good", PING, "poll recovered"),
    ],
    "a failure within the hour after the last notification has to last five minutes": [
        poll(0, "failed", FAIL, "poll failed"),
        poll(1, "good", PING, "poll recovered"),
        poll(2, "failed"),
        poll(3, "failed"),
        poll(6.9, "failed"),
        poll(7, "failed", FAIL, "poll failed"),
        poll(8, "failed"),
        poll(9, "good", PING, "poll recovered"),
    ],
    "failures that come and go within the hour are not reported": [
        poll(0, "failed", FAIL, "poll failed"),
        poll(1, "good", PING, "poll recovered"),
        poll(10, "failed"),
        poll(11, "good", PING),
        poll(12, "failed"),
        poll(13, "good"),
        poll(20, "failed"),
        poll(24, "failed"),
        poll(24.5, "good", PING),
        poll(60, "failed", FAIL, "poll failed"),
        poll(61, "good", PING, "poll recovered"),
    ],
    "stale is reported by itself, though the failure was": [
        poll(0, "good", PING),
        poll(1, "failed", FAIL, "poll failed"),
        poll(29, "failed"),
        poll(31, "failed", STALE, "poll stale"),
        poll(32, "failed"),
        poll(90, "failed"),
        poll(91, "failed", STALE, "poll stale"),
        poll(92, "good", PING, "poll recovered"),
    ],
    "the first failure is reported as one, however old the last good poll is": [
        poll(0, "good", PING),
        poll(100, "failed", FAIL, "poll failed"),
        poll(101, "failed", STALE, "poll stale"),
        poll(102, "failed"),
    ],
    "a failure that waits is reported as stale before its five minutes": [
        poll(0, "failed", FAIL, "poll failed"),
        poll(1, "good", PING, "poll recovered"),
        poll(32, "failed"),
        poll(33, "failed", STALE, "poll stale"),
        poll(34, "good", PING, "poll recovered"),
    ],
    "other jobs report stale polls, and not again before an hour": [
        poll(0, "good", PING),
        run(20, "prune", "good", "/ping/prune"),
        run(31, "rollup", "good", "/ping/rollup", STALE, "poll stale"),
        run(60, "prune", "good", "/ping/prune"),
        run(91, "rollup", "good", "/ping/rollup", STALE, "poll stale"),
        poll(92, "good", PING, "poll recovered"),
        run(93, "rollup", "good", "/ping/rollup"),
    ],
    "polls that find the controller busy are neither good nor failed": [
        poll(0, "busy"),
        poll(1, "good", PING),
        poll(7, "busy"),
        poll(32, "busy", STALE, "poll stale"),
        poll(33, "busy"),
        poll(34, "good", PING, "poll recovered"),
    ],
    "a failure after other jobs reported stale polls waits for its hour": [
        poll(0, "good", PING),
        run(31, "rollup", "good", "/ping/rollup", STALE, "poll stale"),
        poll(32, "failed"),
        poll(90, "failed"),
        poll(91, "failed", STALE, "poll stale"),
        poll(92, "good", PING, "poll recovered"),
    ],
    "each run of a roll-up is pinged, its failure goes to ntfy once an hour": [
        run(0, "rollup", "good", "/ping/rollup"),
        run(60, "rollup", "failed", "/ping/rollup/69", "rollup failed"),
        run(61, "rollup", "failed", "/ping/rollup/69"),
        run(121, "rollup", "failed", "/ping/rollup/69", "rollup failed"),
        run(122, "rollup", "good", "/ping/rollup", "rollup recovered"),
        run(123, "rollup", "failed", "/ping/rollup/69"),
        run(124, "rollup", "good", "/ping/rollup"),
    ],
    "jobs are reported independently of one another": [
        run(0, "rollup", "failed", "/ping/rollup/69", "rollup failed"),
        run(1, "prune", "failed", "/ping/prune/69", "prune failed"),
        poll(2, "failed", FAIL, "poll failed"),
        run(3, "prune", "good", "/ping/prune", "prune recovered"),
        poll(4, "failed"),
        run(60, "rollup", "good", "/ping/rollup", "rollup recovered"),
    ],
    "a stopped poll is a failure": [
        poll(0, "stopped", "/ping/poll/143", "poll failed"),
        poll(1, "good", PING, "poll recovered"),
    ],
    "a failure that no channel accepted is sent again after five minutes": [
        poll(0, "failed", FAIL, "poll failed", accepted_by="none"),
        poll(1, "failed"),
        poll(4.9, "failed"),
        poll(5, "failed", FAIL, "poll failed", accepted_by="none"),
        poll(9, "failed"),
        poll(10, "failed", FAIL, "poll failed"),
        poll(15, "failed"),
        poll(70, "failed", FAIL, "poll failed"),
        poll(71, "good", PING, "poll recovered"),
    ],
    "the recovery from a failure that no channel accepted goes to Healthchecks alone": [
        poll(0, "failed", FAIL, "poll failed", accepted_by="none"),
        poll(1, "good", PING),
        poll(2, "good"),
        poll(3, "failed"),
        poll(5, "failed", FAIL, "poll failed"),
        poll(6, "good", PING, "poll recovered"),
    ],
    "a failure that only Healthchecks accepted is sent again after five minutes": [
        poll(0, "failed", FAIL, "poll failed", accepted_by="healthchecks"),
        poll(1, "failed"),
        poll(5, "failed", FAIL, "poll failed"),
        poll(6, "good", PING, "poll recovered"),
    ],
    "the recovery from a failure that only Healthchecks accepted goes there alone": [
        poll(0, "failed", FAIL, "poll failed", accepted_by="healthchecks"),
        poll(1, "good", PING),
        poll(2, "good"),
    ],
    "a failure that only ntfy accepted counts as delivered": [
        poll(0, "failed", FAIL, "poll failed", accepted_by="ntfy"),
        poll(5, "failed"),
        poll(60, "failed", FAIL, "poll failed"),
        poll(61, "good", PING, "poll recovered", accepted_by="ntfy"),
        poll(62, "good"),
        poll(66, "good", PING),
    ],
    "a recovery that no channel accepted is sent again after five minutes": [
        poll(0, "failed", FAIL, "poll failed"),
        poll(1, "good", PING, "poll recovered", accepted_by="none"),
        poll(2, "good"),
        poll(5.9, "good"),
        poll(6, "good", PING, "poll recovered", accepted_by="healthchecks"),
        poll(7, "failed"),
        poll(10, "good"),
        poll(11, "good", PING, "poll recovered"),
        poll(12, "good"),
    ],
    "the next failure while a recovery waits to be sent again keeps its hour": [
        poll(0, "failed", FAIL, "poll failed"),
        poll(50, "good", PING, "poll recovered", accepted_by="none"),
        poll(51, "failed"),
        poll(60, "failed", FAIL, "poll failed"),
        poll(61, "good", PING, "poll recovered"),
    ],
    "a stale notification that no channel accepted is sent again after five minutes": [
        poll(0, "good", PING),
        run(31, "prune", "good", "/ping/prune", STALE, "poll stale", accepted_by="none"),
        run(35, "prune", "good", "/ping/prune"),
        run(36, "prune", "good", "/ping/prune", STALE, "poll stale"),
        run(41, "prune", "good", "/ping/prune"),
        poll(42, "good", PING, "poll recovered"),
    ],
    "a stale notification that no channel accepted after a delivered failure": [
        poll(0, "good", PING),
        poll(1, "failed", FAIL, "poll failed"),
        poll(31, "failed", STALE, "poll stale", accepted_by="none"),
        poll(35, "failed"),
        poll(36, "failed", STALE, "poll stale", accepted_by="none"),
        poll(37, "good", PING, "poll recovered"),
    ],
    "a ping that Healthchecks refused follows at the next interval": [
        poll(0, "good", PING, accepted_by="none"),
        poll(1, "good"),
        poll(5, "good", PING),
    ],
    "a clock that was set back by hours keeps nothing from being sent": [
        poll(1000, "failed", FAIL, "poll failed"),
        poll(0, "failed", FAIL, "poll failed"),
        poll(1, "failed"),
        poll(2, "good", PING, "poll recovered"),
    ],
    "a run that ended a little before the one that notified is silent": [
        poll(10, "failed", FAIL, "poll failed"),
        poll(9.1, "failed"),
        poll(11, "good", PING, "poll recovered"),
        poll(10.1, "good"),
    ],
}

ONLY_HEALTHCHECKS: dict[str, list[Run]] = {
    "without ntfy every recovery is pinged": [
        poll(0, "failed", FAIL),
        poll(1, "failed"),
        poll(2, "good", PING),
        poll(3, "failed"),
        poll(4, "good"),
        poll(60, "failed", FAIL),
        poll(61, "good", PING),
    ],
    "without ntfy a refused ping is sent again after five minutes": [
        poll(0, "failed", FAIL, accepted_by="none"),
        poll(1, "failed"),
        poll(5, "failed", FAIL),
        poll(6, "good", PING, accepted_by="none"),
        poll(7, "good"),
        poll(11, "good", PING),
        poll(12, "good"),
    ],
}

ONLY_NTFY: dict[str, list[Run]] = {
    "without Healthchecks only changes are sent": [
        poll(0, "good"),
        poll(10, "failed", "poll failed"),
        poll(11, "failed"),
        poll(12, "good", "poll recovered"),
        poll(20, "good"),
        run(60, "rollup", "good", "poll stale"),
        poll(61, "good", "poll recovered"),
    ],
}

ONLY_RECOVERED: dict[str, list[Run]] = {
    "where ntfy wants recoveries alone, it gets none: no failure was delivered there": [
        poll(0, "failed", FAIL),
        poll(1, "good", PING),
    ],
}


@pytest.fixture
def servers() -> Iterator[tuple[Listener, Listener]]:
    with listening() as healthchecks, listening() as ntfy:
        yield healthchecks, ntfy


def check_sequence(file: Path, servers: tuple[Listener, Listener], runs: list[Run]) -> None:
    """End each run in turn and compare what the servers received with what the row says."""
    settings = config.load(file, {}, file.parent)
    settings.cache_path.parent.mkdir()
    store = Store(settings.cache_path)
    healthchecks, ntfy = servers
    seen = []
    for one in runs:
        healthchecks.asked.clear()
        ntfy.asked.clear()
        healthchecks.status, ntfy.status = ANSWERS[one.accepted_by]
        now_ms = NOW_MS + round(one.minute * 60_000)
        if one.job == "poll" and one.result in {"good", "by hand"}:
            store.add(now_ms, small(now_ms))
        if one.result in STATUSES:
            report = monitor.RunReport(settings, one.job, "0a1b2c3d", now_ms)
            report.end(STATUSES[one.result], "", "", now_ms)
        pings = [path for path in healthchecks.paths() if not path.endswith("/start")]
        titles = [asked.document["title"].removeprefix("luxcli: ") for asked in ntfy.asked]
        # Channels are served at the same time, so the order within a row means nothing.
        seen.append((one.minute, one.job, one.result, sorted([*pings, *titles])))
    assert seen == [(one.minute, one.job, one.result, sorted(one.received)) for one in runs]


def channels_at(healthchecks: Listener | None, ntfy: Listener | None) -> dict[str, Any]:
    return {
        **({"healthchecks_url": f"{healthchecks.url}/ping/{{job}}"} if healthchecks else {}),
        **({"ntfy_url": f"{ntfy.url}/topic"} if ntfy else {}),
    }


@pytest.mark.parametrize("name", SEQUENCES)
def test_notifications_follow_the_rules(configure, servers, name):
    check_sequence(configure(monitoring=channels_at(*servers)), servers, SEQUENCES[name])


@pytest.mark.parametrize("name", ONLY_HEALTHCHECKS)
def test_healthchecks_alone_follows_the_rules(configure, servers, name):
    file = configure(monitoring=channels_at(servers[0], None))
    check_sequence(file, servers, ONLY_HEALTHCHECKS[name])


@pytest.mark.parametrize("name", ONLY_NTFY)
def test_ntfy_alone_follows_the_rules(configure, servers, name):
    file = configure(monitoring=channels_at(None, servers[1]))
    check_sequence(file, servers, ONLY_NTFY[name])


@pytest.mark.parametrize("name", ONLY_RECOVERED)
def test_events_that_are_not_chosen_are_not_sent(configure, servers, name):
    file = configure(monitoring={**channels_at(*servers), "events": "recovered"})
    check_sequence(file, servers, ONLY_RECOVERED[name])
