"""What the last accepted poll says about an answer: lost values, blocks of zeros, other lengths.

`structure` judges an answer by itself, which tells little about most parameters and all
visibilities. The poll before is of the same heat pump, so a value that now stands where the one
before it stood is known by its number. An answer is refused only for two contradictions or more,
only against a poll of the last minutes, and never because it has *more* values than the poll
before: whatever a controller goes on sending is stored, and marked, minutes later.
"""

from collections.abc import Sequence
from typing import Final

from luxcli.model import GROUPS, LENGTH_CHANGED, SUSPICIOUS, Group, Snapshot
from luxcli.registers import numbers, structure
from luxcli.registers.numbers import every

# Reasons not to store the answer; marks for it; messages for people, to be said where it is stored.
Verdict = tuple[list[str], int, list[str]]

# How many registers have to contradict before an answer is marked, and before it is refused.
# Calculations change all the time, and flags are alike.
_SHIFTED: Final[dict[Group, tuple[int, int]]] = {
    "calculations": (2, 3),
    "parameters": (1, 2),
    "visibilities": (1, 4),
}
_ZEROED: Final[dict[Group, tuple[int, int]]] = {
    "calculations": (1, 3),
    "parameters": (1, 3),
    "visibilities": (1, 8),
}
# Values that are sent in two blocks, which are read one after the other: a single difference is
# normal, and the poll before tells more.
_RACES: Final = ("heat-quantities", "switch-off-log")
# How much nearer a value has to be to one of two values.
_MUCH: Final = 8
# Above all settings and measurements; times and "no value" are larger.
_UNIQUE: Final = 2**24
# One register that stands where it stood outweighs as many that seem to have moved.
_OUTWEIGHS: Final = 8
# The most values that a shorter block may have lost in one place.
_MOST_LOST: Final = 8
# Calculations that are not 0 in operation, once they were not: run times, firmware, logs, clock,
# pressures. The others may all be 0 behind the compressor's last register while it stands.
_LASTING: Final = (
    *every(numbers.RUN_TIMES),
    *every(numbers.FIRMWARE)[:5],
    *every(numbers.ERROR_TIMES),
    *every(numbers.SWITCH_OFF_TIMES),
    *(numbers.CLOCK, numbers.HIGH_PRESSURE, numbers.LOW_PRESSURE),
)
# Of those others, so many do not become 0 at once in steady operation, or after so long a rest.
_MANY: Final = 3
_SETTLED_S: Final = 300
# Parameters that their owner may set back to 0 all at once: heat and electricity.
_RESETTABLE: Final = frozenset(
    (852, 854, 878, 879, 1016, 1059, 1060, 1061, *range(1135, 1141)),
)
_METERS: Final = (
    *(numbers.FINE_HEAT_TOTAL, numbers.FINE_HEAT_HEATING, numbers.FINE_HEAT_DHW),
    *every(numbers.ELECTRICITY),
)
# Below these, a meter (0.01 kWh) or a run time (s) that begins again is not worth a word.
_METERED: Final = 1000
_RAN_S: Final = 3600


def judge(snapshot: Snapshot, previous: Snapshot | None, within_ms: int) -> Verdict:
    """Judge an answer by itself and against the last accepted poll.

    Args:
        snapshot: The answer.
        previous: The last accepted poll of this heat pump, None if it is not known.
        within_ms: How far apart the two may be for the one to refuse the other, milliseconds.
    """
    issues = structure.structural(snapshot)
    if reasons := structure.reasons(issues):
        return reasons, 0, []
    flags, messages = 0, []
    if issues:
        known: set[str] = set()
        if previous is not None:
            # What the poll before had as well is a peculiarity of this heat pump.
            known = {*_RACES, *(issue.rule for issue in structure.structural(previous))}
        messages = [f"{one.rule}: {one.message}" for one in issues if one.rule not in known]
        flags = SUSPICIOUS if messages else 0
    if previous is None:
        return [], flags, messages
    refused: list[str] = []
    firmware = _firmware(previous, snapshot)
    for group in GROUPS:
        before, now = previous.block(group), snapshot.block(group)
        if before == now:
            continue
        mark, refuses, message = _compare(group, before, now, firmware is None)
        if mark:
            flags |= mark
            messages.append(message)
        if refuses:
            refused.append(message)
    if _overruns(previous, snapshot):
        flags |= SUSPICIOUS
        messages.append("the last parameter is the first calculation")
    close = abs(snapshot.taken_ms - previous.taken_ms) <= within_ms
    if refused and close and not previous.flags & (LENGTH_CHANGED | SUSPICIOUS):
        return refused, 0, []
    return [], flags, [*([firmware] if firmware else []), *_restarts(previous, snapshot), *messages]


def _compare(
    group: Group, before: Sequence[int], now: Sequence[int], same_firmware: bool
) -> tuple[int, bool, str]:
    """Return the mark for a block, whether it is a reason to refuse the answer, and why."""
    lost = len(before) - len(now)
    mark, enough = _SHIFTED[group]
    if lost:
        flags, text = LENGTH_CHANGED, f"{group}: {len(before)} values became {len(now)}"
        # That the block is shorter is the first contradiction.
        mark = enough = 1 if same_firmware else enough
    else:
        flags, text = 0, ""
    moved, is_unique = _moved(before, now, max(lost, 1)) if 0 <= lost <= _MOST_LOST else (0, False)
    if moved >= mark or is_unique:
        what = f"{group} that have the value of the next one before: {moved}"
        return flags | SUSPICIOUS, moved >= enough, f"{text}; {what}" if text else what
    if same_firmware:
        mark, enough = _ZEROED[group]
        zeroed = _zeroed(group, before, now)
        if zeroed >= mark:
            what = f"{group} at one end of the block that became 0: {zeroed}"
            return flags | SUSPICIOUS, zeroed >= enough, f"{text}; {what}" if text else what
    return flags, False, text


def _moved(before: Sequence[int], now: Sequence[int], by: int) -> tuple[int, bool]:
    """Return how many values up to the end of a block seem to stand `by` places lower than before.

    Of all places where values may have been lost, the one with the most evidence counts. The second
    is whether one of the values is so large that no other register has it by chance.
    """
    triples = list(zip(now, before, before[by:], strict=False))
    hints = [
        place
        for place, (new, own, behind) in enumerate(triples)
        if new != own and new and _is_nearer(new, behind, own)
    ]
    if not hints:
        return 0, False
    moved = stayed = changed = best = 0
    found, is_unique = (0, False), False
    for new, own, behind in reversed(triples[hints[0] :]):
        if new and _is_nearer(new, behind, own):
            moved += 1
            is_unique = is_unique or abs(new) >= _UNIQUE
        elif _is_nearer(new, own, behind):
            stayed += 1
        elif new not in (own, behind):
            changed += 1
        score = moved - changed - _OUTWEIGHS * stayed
        if score > best:
            best, found = score, (moved, is_unique)
    return found


def _is_nearer(value: int, one: int, other: int) -> bool:
    """Whether a value is one of two rather than the other, a little changed perhaps."""
    return _MUCH * abs(value - one) < abs(value - other)


def _zeroed(group: Group, before: Sequence[int], now: Sequence[int]) -> int:
    """Return how many registers of a run of zeros at either end were not 0 before."""
    length = min(len(before), len(now))
    if not length or (now[0] and now[length - 1]):
        return 0
    first = next((place for place in range(length) if now[place]), length)
    last = next((place for place in range(length - 1, -1, -1) if now[place]), -1)
    leading = sum(map(bool, before[:first]))
    if group == "calculations":
        behind = [place for place in _LASTING if last < place < length and before[place]]
        if not behind and _is_steady(before, now):
            behind = [_MANY] * (sum(map(bool, before[last + 1 : length])) >= _MANY)
        return max(leading, len(behind))
    behind = [
        place
        for place in range(last + 1, length)
        if before[place] and (group != "parameters" or place not in _RESETTABLE)
    ]
    return max(leading, len(behind))


def _is_steady(before: Sequence[int], now: Sequence[int]) -> bool:
    """Whether the compressor runs, or rests for long, so that its registers have no reason to be 0.

    They follow a switch with a delay.
    """
    if before[numbers.SWITCHES] != now[numbers.SWITCHES]:
        return False
    runs = before[numbers.COMPRESSOR_1] or before[numbers.COMPRESSOR_2]
    return bool(runs) or before[numbers.COMPRESSOR_STANDS] >= _SETTLED_S


def _overruns(previous: Snapshot, snapshot: Snapshot) -> bool:
    """Whether the parameters end with the first value of the next block, a number like no other."""
    last, next_ = snapshot.parameters[-1], snapshot.calculations[0]
    return last == next_ and abs(last) > 1 and previous.parameters[-1:] != (last,)


def _firmware(previous: Snapshot, snapshot: Snapshot) -> str | None:
    """Return that the firmware is another one, None if it is not."""
    texts = [_text(block) for block in (previous.calculations, snapshot.calculations)]
    if texts[0] == texts[1] or structure.firmware_text(snapshot):
        return None
    return f"new firmware: {texts[0]} became {texts[1]}"


def _text(calculations: Sequence[int]) -> str:
    codes = calculations[numbers.FIRMWARE]
    return "".join(chr(code) for code in codes if 32 < code < 127) or "unreadable"


def _restarts(previous: Snapshot, snapshot: Snapshot) -> list[str]:
    """Return what begins again: the meters, or all counters, as with a new controller board."""
    found = []
    serial = previous.parameters[numbers.SERIAL_NUMBER]
    if any(serial) and serial != snapshot.parameters[numbers.SERIAL_NUMBER]:
        found.append("another serial number: a new controller board, or another heat pump")
    runs = (numbers.COMPRESSOR_1_RUN_TIME, numbers.HEAT_PUMP_RUN_TIME)
    if all(_falls(previous.calculations, snapshot.calculations, place, _RAN_S) for place in runs):
        found.append("the run times begin again: a restart, a reset or a new controller board")
        return found
    fallen = [
        str(place)
        for place in _METERS
        if _falls(previous.parameters, snapshot.parameters, place, _METERED)
    ]
    if fallen:
        found.append(f"a meter was reset: parameters {', '.join(fallen)} begin again")
    return found


def _falls(before: Sequence[int], now: Sequence[int], place: int, from_: int) -> bool:
    if place >= len(before) or place >= len(now):
        return False
    return before[place] >= from_ and now[place] * 2 < before[place]
