"""The schema of the database, as migrations in SQL.

The tables:

* ``poll``: a row per poll, a column ``cN`` per calculation that has ever changed, raw integers.
  A column is added when its register first differs, with the constant so far as its default, so
  that earlier rows read correctly; a register that the firmware did not have is NULL.
* ``constant``: calculations that never differed; the value is valid for every row of ``poll``.
* ``setting``: change log of parameters, visibilities and slow calculations: the value from
  ``ts_ms`` on until the next row; NULL when the controller stopped sending the register.
* ``missed``: missed polls, and why.
* ``journal``: how much of each journal is in the tables.
* ``repair``: polls whose wrong time was corrected, or that were removed because of it.
* ``rollup``: which CSV was written for which period; its state is stale if polls of the period
  came later. ``archive``: the same for archives.
* ``register``: the registers seen so far, by ``kind`` 0 calculations, 1 parameters,
  2 visibilities, with name, quantity, unit, scale and offset (value = raw / scale + offset).
* ``label``: the texts of enumerations.
* ``meta``: which luxcli wrote ``register``, ``label`` and the views.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from luxcli.model import GROUPS
from luxcli.model import MARKS as MARK_NAMES

if TYPE_CHECKING:
    from luxcli.registers.catalogue import Register

# "LuxC"; marks a file as written by luxcli.
APPLICATION_ID: Final = 0x4C757843

# The schema of development versions, which nothing reads any more.
DEVELOPMENT: Final = 1
# Entry n leads from schema n + 1 to n + 2; entries are never edited once released.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE poll (
            ts_ms   INTEGER PRIMARY KEY,  -- start of the exchange, ms since the epoch, UTC
            took_ms INTEGER NOT NULL,
            tries   INTEGER NOT NULL,     -- connections it took
            late_ms INTEGER NOT NULL,     -- ts_ms minus the scheduled time, 0 for an extra poll
            interval_s INTEGER NOT NULL,  -- distance of scheduled polls, 0 for an extra poll
            flags   INTEGER NOT NULL,     -- marks: 1 clock doubted, 2 length changed, 4 suspicious,
                                          -- 8 extra poll
            crc     INTEGER NOT NULL      -- CRC-32 of all before and all three blocks, signed
        )""",
        # Empty, as a rule: it costs nothing and finds them at once.
        "CREATE INDEX poll_doubted ON poll (ts_ms) WHERE flags & 1",
        """CREATE TABLE constant (
            kind  INTEGER NOT NULL,
            idx   INTEGER NOT NULL,
            value INTEGER NOT NULL,
            PRIMARY KEY (kind, idx)
        ) WITHOUT ROWID""",
        """CREATE TABLE setting (
            kind  INTEGER NOT NULL,
            idx   INTEGER NOT NULL,
            ts_ms INTEGER NOT NULL,       -- the poll from which on the value holds
            value INTEGER,
            PRIMARY KEY (kind, idx, ts_ms)
        ) WITHOUT ROWID""",
        """CREATE TABLE missed (
            ts_ms   INTEGER PRIMARY KEY,
            reason  TEXT NOT NULL,
            tries   INTEGER NOT NULL,
            took_ms INTEGER NOT NULL,
            detail  TEXT NOT NULL,
            late_ms INTEGER NOT NULL,
            interval_s INTEGER NOT NULL,
            flags   INTEGER NOT NULL
        )""",
        """CREATE TABLE journal (
            name TEXT PRIMARY KEY,        -- of the file
            size INTEGER NOT NULL,        -- bytes of it that are in this database
            tail TEXT NOT NULL            -- the last of these bytes: another file of that name has
                                          -- others
        ) WITHOUT ROWID""",
        """CREATE TABLE repair (
            sha256 TEXT PRIMARY KEY,      -- of the poll with its old time
            old_ms INTEGER NOT NULL,
            new_ms INTEGER,               -- NULL: the poll was removed
            done_ms INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE rollup (
            kind            TEXT NOT NULL,     -- daily, weekly
            period_start_ms INTEGER NOT NULL,
            period_stop_ms  INTEGER NOT NULL,  -- excluded
            path            TEXT,
            state           TEXT NOT NULL,     -- written, stale, empty, failed
            rows            INTEGER NOT NULL,
            written_ms      INTEGER NOT NULL,
            error           TEXT,
            PRIMARY KEY (kind, period_start_ms, period_stop_ms)
        ) WITHOUT ROWID""",
        """CREATE TABLE archive (
            start_ms   INTEGER PRIMARY KEY,    -- local day
            stop_ms    INTEGER NOT NULL,       -- excluded
            path       TEXT NOT NULL,
            entries    INTEGER NOT NULL,       -- polls and missed polls of this database in it
            size       INTEGER NOT NULL,       -- bytes
            written_ms INTEGER NOT NULL,
            checked_ms INTEGER NOT NULL        -- when it was last read and compared
        )""",
        """CREATE TABLE register (
            kind  INTEGER NOT NULL,
            idx   INTEGER NOT NULL,
            id    TEXT NOT NULL,
            name  TEXT NOT NULL,
            quantity TEXT NOT NULL,       -- temperature, energy, switch, ...
            unit  TEXT NOT NULL,
            scale INTEGER NOT NULL,
            offset INTEGER NOT NULL,
            PRIMARY KEY (kind, idx)
        ) WITHOUT ROWID""",
        """CREATE TABLE label (
            id    TEXT NOT NULL,
            code  INTEGER NOT NULL,
            text  TEXT NOT NULL,
            PRIMARY KEY (id, code)
        ) WITHOUT ROWID""",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)

NEWEST: Final = DEVELOPMENT + len(MIGRATIONS)

# Calculations that rarely change but would cost a few bytes in every row once they have: set-points
# (12, 18, 22, 25, 136), starts and the heating elements' run times (57, 59 to 62), firmware text,
# addresses, the error and switch-off logs. By number, as python-luxtronik 0.3.14 types them.
# Switches stay columns: 0 and 1 take no room beside the header byte of a column.
_SLOW: Final = frozenset(
    [12, 18, 22, 25, 57, 59, 60, 61, 62, *range(81, 116), 136, *range(217, 227)]
)
# SQLite takes 2000 columns at most; the largest controller known has 275 calculations.
_FIRST_BEYOND_COLUMNS: Final = 1500

VIEWS: Final = ("reading", "reading_long", "setting_change", "setting_now")
_WIDEST: Final = 1990
# SQLite takes 500 terms in a compound SELECT at most.
_TERMS: Final = 400
# The marks of a poll as words, NULL where it has none.
MARKS: Final = (
    "nullif(trim("
    + "||".join(
        f"CASE WHEN flags&{mark} THEN '{name} ' ELSE '' END" for mark, name in MARK_NAMES.items()
    )
    + "),'')"
)


def is_slow(index: int) -> bool:
    """Whether a calculation belongs in the change log instead of in a column of ``poll``."""
    return index in _SLOW or index >= _FIRST_BEYOND_COLUMNS


def view_statements(
    registers: "Sequence[Register]", columns: frozenset[int], constants: Mapping[int, int]
) -> Iterator[str]:
    """Yield the statements that rebuild the views.

    Args:
        registers: Every register that was ever stored, by block and index.
        columns: Indices with a column in ``poll``.
        constants: Indices and values in ``constant``.
    """
    from luxcli.registers import numbers  # a status needs no views made

    for view in VIEWS:
        yield f"DROP VIEW IF EXISTS {view}"
    calculations = [r for r in registers if r.group == "calculations"]
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
    # The series of the firmware decides what some settings are, and may change like them.
    letter = _raw(numbers.FIRMWARE.start + 1, columns, constants, "s.ts_ms")
    rows = "\nUNION ALL ".join(_setting_rows(registers, letter))
    yield f"""CREATE VIEW setting_change AS
SELECT ts_ms/1000 AS ts, strftime('%Y-%m-%dT%H:%M:%SZ', ts_ms/1000, 'unixepoch') AS time,
  id, name, value, unit, ts_ms FROM (
{rows})"""
    yield f"""CREATE VIEW setting_now AS
SELECT id, name, value, unit, max(ts_ms)/1000 AS since FROM (
{rows})
GROUP BY kind, idx, id"""


def _setting_rows(registers: "Sequence[Register]", letter: str) -> Iterator[str]:
    """Yield SELECTs of settings as numbers; a pair of times of day gives one row for each."""
    head = "SELECT s.kind, s.idx, s.ts_ms, r.id"
    tables = "FROM setting s JOIN register r USING (kind, idx)"
    raw = "s.value"
    value = f"CASE r.scale WHEN 1 THEN {raw} ELSE {raw}/(r.scale*1.0) END+r.offset"
    unit = "r.unit"
    for entry in registers:
        here = f"r.kind={GROUPS.index(entry.group)} AND r.idx={entry.index}"
        by_series = [(case.series, case.register) for case in entry.cases if case.series]
        if by_series:
            arms = [(f"{here} AND {letter}={ord(name[1])}", case) for name, case in by_series]
            whens = "".join(f" WHEN {when} THEN {raw}/{case.scale}.0" for when, case in arms)
            units = "".join(f" WHEN {when} THEN '{case.unit}'" for when, case in arms)
            value, unit = f"CASE{whens} ELSE {value} END", f"CASE{units} ELSE {unit} END"
        if entry.labels and entry.kind not in ("enum", "code"):
            codes = ",".join(map(str, entry.labels))
            value = f"CASE WHEN {here} AND {raw} IN ({codes}) THEN NULL ELSE {value} END"
    # Without the characters of the firmware text.
    yield f"""{head}, r.name, {value} AS value, {unit} AS unit
{tables} WHERE r.quantity NOT IN ('period','character','text')"""
    for word, minutes in (("start", f"({raw}&65535)"), ("end", f"({raw}>>16)")):
        yield f"""{head}||'_{word}', r.name||' {word}', {minutes}*60, 's'
{tables} WHERE r.quantity='period'"""


def _raw(
    index: int, columns: frozenset[int], constants: Mapping[int, int], when: str = "poll.ts_ms"
) -> str:
    if index in columns:
        return f"c{index}"
    if index in constants:
        return str(constants[index])
    return as_of(0, index, when)


def _decoded(register: "Register", raw: Mapping[int, str]) -> str:
    """Return SQL for a register's value: a number where there is one, codes for enumerations."""
    expression = raw[register.index]
    from luxcli.registers.catalogue import NOT_AVAILABLE  # a poll that only looks needs no table

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
