"""Faults planted into a CSV: each with the rule that has to find it."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

Rows = list[list[str]]  # the header and what follows, in cells


@dataclass(frozen=True, kw_only=True)
class CsvFault:
    """One fault.

    Attributes:
        name: What is wrong.
        rule: What has to find it.
        plant: Makes bad cells of good ones.
        spoil: Makes bad bytes of good ones, afterwards.
    """

    name: str
    rule: str
    plant: Callable[[Rows], Rows] = list
    spoil: Callable[[bytes], bytes] = bytes


def cell(row: int, column: int, text: str) -> Callable[[Rows], Rows]:
    """Plant a cell; row 0 is the header."""

    def plant(rows: Rows) -> Rows:
        rows[row][column] = text
        return rows

    return plant


def both(*plants: Callable[[Rows], Rows]) -> Callable[[Rows], Rows]:
    """Plant one thing after the other."""
    return lambda rows: functools.reduce(lambda found, plant: plant(found), plants, rows)


def in_column(name: str, text: str) -> Callable[[Rows], Rows]:
    """Plant a cell into the tenth row of a column."""
    return lambda rows: cell(10, rows[0].index(name), text)(rows)


def in_all_rows(name: str, text: str) -> Callable[[Rows], Rows]:
    """Plant the same cell into all rows of a column."""

    def plant(rows: Rows) -> Rows:
        column = rows[0].index(name)
        for row in rows[1:]:
            row[column] = text
        return rows

    return plant


def emptied(where: slice, keep: int) -> Callable[[Rows], Rows]:
    """Leave only the first cells of some rows filled."""

    def plant(rows: Rows) -> Rows:
        for row in rows[1:][where]:
            row[2 + keep :] = [""] * (len(row) - 2 - keep)
        return rows

    return plant


def _swapped(rows: Rows) -> Rows:
    rows[20], rows[21] = rows[21], rows[20]
    return rows


def _faults() -> Iterator[CsvFault]:
    yield CsvFault(name="no header", rule="csv-header", plant=lambda rows: rows[1:])
    yield CsvFault(
        name="header of another file",
        rule="csv-header",
        plant=lambda rows: [["time", "temperature"], *rows[1:]],
    )
    yield CsvFault(
        name="column that is no register", rule="csv-columns", plant=cell(0, 5, "Temperature_7")
    )
    yield CsvFault(
        name="column twice",
        rule="csv-duplicate",
        plant=lambda rows: [[*row, row[12]] for row in rows],
    )
    yield CsvFault(
        name="columns exchanged",
        rule="csv-order",
        plant=lambda rows: [[*row[:12], row[13], row[12], *row[14:]] for row in rows],
    )
    yield CsvFault(
        name="columns missing",
        rule="csv-few-columns",
        plant=lambda rows: [row[:-9] for row in rows],
    )
    yield CsvFault(
        name="nothing but the times",
        rule="csv-no-sensors",
        plant=lambda rows: [row[:2] for row in rows],
    )
    yield CsvFault(
        name="flow temperature without values",
        rule="csv-empty-column",
        plant=in_all_rows("ID_WEB_Temperatur_TVL", ""),
    )
    yield CsvFault(
        name="flow temperature without a value in one row",
        rule="csv-holes",
        plant=in_column("ID_WEB_Temperatur_TVL", ""),
    )
    yield CsvFault(
        name="every second row missing",
        rule="spacing",
        plant=lambda rows: [rows[0], *rows[1::2]],
    )
    yield CsvFault(
        name="times of a container without a time zone",
        rule="csv-zone",
        plant=lambda rows: [rows[0], *([row[0], row[0], *row[2:]] for row in rows[1:])],
    )
    yield CsvFault(
        name="second half of the columns without values",
        rule="csv-empty-column",
        plant=lambda rows: [rows[0], *([*row[:140], *[""] * (len(row) - 140)] for row in rows[1:])],
    )
    yield CsvFault(name="only a header", rule="csv-no-rows", plant=lambda rows: rows[:1])
    yield CsvFault(
        name="the predecessor's 61 bytes",
        rule="csv-no-rows",
        plant=lambda rows: [[*rows[0][:2], "ID_WEB_Temperatur_TVL_measured"]],
    )
    yield CsvFault(
        name="the predecessor's nearly empty rows", rule="csv-sparse", plant=emptied(slice(None), 9)
    )
    yield CsvFault(name="one nearly empty row", rule="csv-sparse", plant=emptied(slice(9, 10), 3))
    yield CsvFault(
        name="rows that end early", rule="csv-incomplete", plant=emptied(slice(30, 40), 150)
    )
    yield CsvFault(
        name="row with a cell less",
        rule="csv-width",
        plant=lambda rows: [*rows[:50], rows[50][:-1], *rows[51:]],
    )
    yield CsvFault(
        name="time at the end of the calendar",
        rule="csv-time",
        plant=both(cell(-1, 0, "9999-12-31T23:59:59Z"), cell(-1, 1, "9999-12-31T23:59:59+00:00")),
    )
    yield CsvFault(
        name="cell that is no time", rule="csv-time", plant=cell(30, 0, "24.11.2026 07:00")
    )
    yield CsvFault(name="rows exchanged", rule="csv-time-order", plant=_swapped)
    yield CsvFault(
        name="row twice",
        rule="csv-time-order",
        plant=lambda rows: [*rows[:30], rows[30], *rows[30:]],
    )
    yield CsvFault(
        name="local time of another moment",
        rule="csv-local-time",
        plant=cell(30, 1, "2025-11-22T03:00:00+01:00"),
    )
    yield CsvFault(
        name="temperature that is no number",
        rule="csv-cell",
        plant=in_column("ID_WEB_Temperatur_TVL", "NaN"),
    )
    yield CsvFault(
        name="temperature in tenths",
        rule="csv-cell",
        plant=in_column("ID_WEB_Temperatur_TVL", "334"),
    )
    yield CsvFault(name="switch of 2", rule="csv-cell", plant=in_column("ID_WEB_VD1out", "2"))
    yield CsvFault(
        name="operating mode that is no label",
        rule="csv-cell",
        plant=in_column("ID_WEB_WP_BZ_akt", "heaty"),
    )
    yield CsvFault(
        name="one row missing", rule="csv-gap", plant=lambda rows: [*rows[:60], *rows[61:]]
    )
    yield CsvFault(
        name="every tenth row missing",
        rule="csv-gaps",
        plant=lambda rows: [row for n, row in enumerate(rows) if n % 10 != 5],
    )
    yield CsvFault(
        name="fewer rows than polls",
        rule="csv-count",
        plant=lambda rows: [*rows[:60], *rows[70:]],
    )
    yield CsvFault(name="last line torn", rule="csv-torn", spoil=lambda content: content[:-1])


CSV_FAULTS: Final = tuple(_faults())
