"""Rows of the database: blocks are rebuilt, and their checksums combined from few terms."""

import zlib

from luxcli.store import rows
from luxcli.store.rows import Layout

TWO_CALCULATIONS_AND_A_SETTING_OF_EACH_KIND = [(0, 0), (0, 1), (1, 0), (2, 0)]
HEAD = (1_800_000_000_000, 98, 1, 123, 30, 0)


def test_the_worked_example_of_the_documentation_is_right():
    terms = [zlib.crc32(data) for data in (b"\x05\x07", b"\x05\x00", b"\x00\x07", b"\x00\x00")]
    assert terms[0] == terms[1] ^ terms[2] ^ terms[3]
    for term in terms:
        assert f"0x{term:08x}" in (rows.__doc__ or "")


def test_a_row_with_its_checksum_is_intact_and_any_other_value_is_not():
    layout = Layout(TWO_CALCULATIONS_AND_A_SETTING_OF_EACH_KIND, [0], {1: 7, 2: 3, 3: 1})
    crc = rows.poll_crc(HEAD, (5, 7), rows.settings_crc((3,), (1,)))
    row = (*HEAD, crc, 5)
    assert layout.block(row) == (5, 7)
    assert layout.intact([row, (*HEAD, crc, 6), (*HEAD, crc ^ 1, 5)]) == [row]


def test_a_setting_that_changes_changes_the_checksum_of_the_rows_that_follow():
    layout = Layout(TWO_CALCULATIONS_AND_A_SETTING_OF_EACH_KIND, [0], {1: 7, 2: 3, 3: 1})
    before = (*HEAD, rows.poll_crc(HEAD, (5, 7), rows.settings_crc((3,), (1,))), 5)
    after = (*HEAD, rows.poll_crc(HEAD, (5, 7), rows.settings_crc((4,), (1,))), 5)
    layout.update([(2, 4)])
    assert layout.settings == ((4,), (1,))
    assert layout.has_changed(3)
    assert layout.intact([before, after]) == [after]
