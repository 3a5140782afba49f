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
  2 visibilities, with name, unit and scale (value = raw / scale).
* ``label``: the texts of enumerations.
* ``meta``: which luxcli wrote ``register``, ``label`` and the views.
"""

from typing import Final

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
            unit  TEXT NOT NULL,
            scale INTEGER NOT NULL,
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


def is_slow(index: int) -> bool:
    """Whether a calculation belongs in the change log instead of in a column of ``poll``."""
    return index in _SLOW or index >= _FIRST_BEYOND_COLUMNS
