"""One judge: a fault has the same name for `validate`, `validate --live` and `diagnose`."""

import time
from collections.abc import Sequence

import pytest

from luxcli.diagnosis import diagnose as diagnosis
from luxcli.errors import ProtocolError
from luxcli.model import Snapshot
from luxcli.registers import numbers
from luxcli.validation import stored
from luxcli.validation.findings import Finding
from luxcli.validation.judge import judge
from luxcli.validation.rules import RULES
from tests.support.faulty_controller import Fault, FaultyController
from tests.support.scenario import BERLIN, configured
from tests.support.validation_faults import IN_POLLS, MIDDLE, Planted

# Rules whose faults are seen in one poll. All others need a history.
IN_ONE_POLL = frozenset(
    {
        *("range", "range-impossible", "no-value", "outdoor-broken", "default-values"),
        *("missing-sensor", "few-values", "mostly-zero", "switch", "visibility-flags"),
        *("starts-runtime", "heatpump-runtime", "heat-quantities", "heat-total"),
        *("switch-off-log", "firmware-text", "model-code", "unknown-code", "impossible-code"),
        *("logs", "error-codes", "netmask", "error", "error-passing", "clock-off", "clock-zone"),
    }
)
SEEN = [one for one in IN_POLLS if one.rule in IN_ONE_POLL]
# Attempts belong to the reading of a poll, not to what was sent: `diagnose` shows them as network.
NOT_SEEN = [one for one in IN_POLLS if one.rule not in {*IN_ONE_POLL, "retries"}]


def about(findings: Sequence[Finding], planted: Planted) -> list[Finding]:
    return [
        finding
        for finding in findings
        if finding.rule == planted.rule and planted.sensor in (None, finding.sensor)
    ]


def first_poll(planted: Planted) -> Snapshot:
    """Return the first poll that shows the fault."""
    for poll in planted.polls():
        if about(stored.judge_snapshot(poll, planted.step_s).findings, planted):
            return poll
    raise AssertionError(f"no poll shows: {planted.name}")


def now(poll: Snapshot) -> Snapshot:
    """Return a poll as if it had been made now: with clock and errors of now."""
    later_s = round(time.time()) - poll.taken_ms // 1000
    block = list(poll.calculations)
    for index in (numbers.CLOCK, *numbers.every(numbers.ERROR_TIMES)):
        # A code in the place of a time stays one.
        if index < len(block) and block[index] > 10_000:
            block[index] += later_s
    return poll._replace(calculations=tuple(block))


@pytest.mark.parametrize("planted", [pytest.param(one, id=one.name) for one in SEEN])
def test_a_fault_is_named_alike_by_validate_validate_live_and_diagnose(planted, tmp_path):
    # The same for both: the time of an error is told to the minute.
    poll = now(first_poll(planted))
    with FaultyController(Fault(change=lambda _good: poll)) as pump:
        settings = configured(tmp_path, port=pump.port, interval_sec=planted.step_s, retries=0)
        found = diagnosis.diagnose(
            settings, now_ms=round(time.time() * 1000), zone=BERLIN, environ={}, ports=()
        )
        try:
            live = stored.validate_live(settings).findings
        except ProtocolError as exc:
            live, rejection = (), str(exc)
    texts = [line.text for section in found.sections for line in section.lines]
    [recorded] = about(judge(planted.polls(), planted.step_s), planted)
    assert recorded.severity == RULES[planted.rule].severity
    sensor = f"{recorded.sensor} " if recorded.sensor else ""
    [text] = [text for text in texts if text.startswith(f"{planted.rule}: {sensor}")][:1]
    if live:
        [finding] = about(live, planted)
        assert (finding.severity, finding.expected) == (recorded.severity, recorded.expected)
        assert f": {finding.found.split(' ago')[0]}" in text
    else:
        reasons = rejection.partition("answer rejected: ")[2].partition(" (gave up")[0].split("; ")
        assert set(reasons) <= set(texts)


@pytest.mark.parametrize("planted", [pytest.param(one, id=one.name) for one in NOT_SEEN])
def test_a_fault_that_needs_a_history_is_not_made_up_from_one_poll(planted):
    polls = planted.polls()
    for poll in (polls[min(MIDDLE, len(polls) - 1)], polls[-1]):
        assert not about(stored.judge_snapshot(poll, planted.step_s).findings, planted)
