"""The views through which people and dashboards read the database."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from luxcli import model

if TYPE_CHECKING:
    from luxcli.registers.catalogue import Register

VIEWS: Final = ("reading", "reading_long", "setting_change", "setting_now")
_WIDEST: Final = 1990
# SQLite takes 500 terms in a compound SELECT at most.
_TERMS: Final = 400
# The marks of a poll as words, NULL where it has none.
MARKS: Final = (
    "nullif(trim("
    + "||".join(
        f"CASE WHEN flags&{mark} THEN '{name} ' ELSE '' END" for mark, name in model.MARKS.items()
    )
    + "),'')"
)


def view_statements(
    calculations: "Sequence[Register]", columns: frozenset[int], constants: Mapping[int, int]
) -> Iterator[str]:
    """Yield the statements that rebuild the views.

    Args:
        calculations: Every calculation that was ever stored, in index order.
        columns: Indices with a column in ``poll``.
        constants: Indices and values in ``constant``.
    """
    for view in VIEWS:
        yield f"DROP VIEW IF EXISTS {view}"
    raw = {r.index: _raw(r.index, columns, constants) for r in calculations}
    # No controller has more, and SQLite takes 2000 columns.
    cells = [(r.id, _decoded(r, raw)) for r in calculations[:_WIDEST]]
    head = "ts_ms/1000 AS ts, strftime('%Y-%m-%dT%H:%M:%SZ', ts_ms/1000, 'unixepoch') AS time"
    wide = "".join(f',\n  {expression} AS "{name}"' for name, expression in cells)
    yield f"CREATE VIEW reading AS SELECT {head}, ts_ms, {MARKS} AS marks{wide}\nFROM poll"
    arms = [
        f"SELECT ts_ms/1000 AS ts, '{name}' AS id, {expression} AS value, ts_ms, flags FROM poll"
        for name, expression in cells
    ]
    if arms:
        parts = [
            f"SELECT ts, id, value, ts_ms, {MARKS} AS marks FROM ("
            + "\nUNION ALL ".join(arms[start : start + _TERMS])
            + ")"
            for start in range(0, len(arms), _TERMS)
        ]
        if len(calculations) > _WIDEST:
            parts.append(
                f"SELECT ts_ms/1000, id, {as_of(0, 'register.idx')}, ts_ms, {MARKS}"
                f" FROM poll, register WHERE kind=0 AND idx>={_WIDEST}"
            )
        yield "CREATE VIEW reading_long AS " + "\nUNION ALL ".join(parts)
    yield """CREATE VIEW setting_change AS
SELECT s.ts_ms/1000 AS ts, strftime('%Y-%m-%dT%H:%M:%SZ', s.ts_ms/1000, 'unixepoch') AS time,
  r.id, r.name, CASE r.scale WHEN 1 THEN s.value ELSE s.value/(r.scale*1.0) END AS value, r.unit,
  s.ts_ms
FROM setting s JOIN register r USING (kind, idx)
WHERE NOT (kind=0 AND idx BETWEEN 81 AND 90)  -- characters of the firmware text"""
    yield """CREATE VIEW setting_now AS
SELECT r.id, r.name, CASE r.scale WHEN 1 THEN s.value ELSE s.value/(r.scale*1.0) END AS value,
  r.unit, max(s.ts_ms)/1000 AS since
FROM register r JOIN setting s USING (kind, idx)
WHERE NOT (kind=0 AND idx BETWEEN 81 AND 90) GROUP BY r.kind, r.idx"""


def _raw(index: int, columns: frozenset[int], constants: Mapping[int, int]) -> str:
    if index in columns:
        return f"c{index}"
    if index in constants:
        return str(constants[index])
    return as_of(0, index)


def _decoded(register: "Register", raw: Mapping[int, str]) -> str:
    """Return SQL for a register's value: a number where there is one, codes for enumerations."""
    expression = raw[register.index]
    from luxcli.registers.catalogue import NOT_AVAILABLE  # with python-luxtronik behind it

    absent = NOT_AVAILABLE.get((register.group, register.index))
    if absent is not None:
        expression = f"nullif({expression},{absent})"
    if register.kind == "time":
        return f"CASE WHEN {expression}>0 THEN {expression} END"
    if register.kind == "text":
        # Not one char() of all ten: SQLite keeps the NULs that end and pad the text. A line break
        # stands for them here, since what cannot be printed is shown as "?".
        text = "||".join(
            f"CASE WHEN {code}=0 THEN char(10) WHEN {code} BETWEEN 32 AND 126 THEN char({code})"
            " ELSE '?' END"
            for code in [raw[index] for index in range(81, 91) if index in raw]
        )
        return f"substr({text},1,instr({text}||char(10),char(10))-1)"
    if register.kind == "switch":
        return f"{expression}<>0"
    if register.kind == "address":
        octets = [f"(({expression}>>{shift})&255)" for shift in (24, 16, 8, 0)]
        return "||'.'||".join(octets)
    return expression if register.scale == 1 else f"{expression}/{register.scale}.0"


def as_of(kind: int, index: int | str, when: str = "poll.ts_ms") -> str:
    """Return the SQL expression for a setting's raw value at the time `when`."""
    return (
        f"(SELECT s.value FROM setting s WHERE s.kind={kind} AND s.idx={index}"
        f" AND s.ts_ms<={when} ORDER BY s.ts_ms DESC LIMIT 1)"
    )
