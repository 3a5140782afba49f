"""The journals: what was acknowledged comes back, whatever became of the file."""

import fcntl
import hashlib
import json
import os
import random
import stat
import subprocess
import time
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from luxcli.errors import LockHeldError, StorageError
from luxcli.model import CLOCK_DOUBTED, EARLIEST_MS, LATEST_MS, MissedPoll, Repair, Snapshot
from luxcli.store import journal
from luxcli.store.entries import Entry
from tests.support.builders import START_MS, python, real, reals, small, traced
from tests.support.tiers import sampled

MISSED = MissedPoll(START_MS, "timeout", 4, 254_000, "127.0.0.1:8889: no complete answer")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache.sqlite3"


@pytest.fixture
def path(cache):
    """The journal of the day that most polls of these tests are of."""
    return journal.path_at(cache, START_MS)


def polls(count: int) -> list[Snapshot]:
    """Return polls whose settings never change."""
    return [small(START_MS + number, {10: number}) for number in range(count)]


def append(cache: Path, entries: Sequence[Entry]) -> list[int]:
    return [journal.append(cache, entry, wait_s=5).number for entry in entries]


class Content(NamedTuple):
    polls: list[Snapshot]
    missed: list[MissedPoll]
    repairs: list[Repair]
    rejected: list[bytes]


def read(path: Path, offset: int = 0, *, settled: bool = True) -> Content:
    """Return all that a journal holds, a torn last line as well if it is settled."""
    stop = path.stat().st_size if settled else None
    parts = list(journal.parts(path, offset, stop=stop))
    return Content(*([entry for part in parts for entry in part[n]] for n in range(4)))


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def is_complete(line: bytes) -> bool:
    """Whether a line holds its settings instead of naming another one's."""
    return b'"p":[' in line


def sealed(text: str) -> bytes:
    """Return a line with a correct checksum, by the format's description."""
    body = text.encode()
    return body + f',"k":"{zlib.crc32(body):08x}"}}\n'.encode()


# What goes in comes out


def test_a_missing_file_is_an_empty_journal_and_reading_does_not_make_one(cache, path):
    assert list(journal.parts(path)) == []
    assert journal.waiting(path, 0) == journal.Waiting()
    assert journal.unread(path, 7, "00", wait_s=1) == (0, 0)
    assert journal.last_poll(cache) is None
    assert journal.paths(cache) == []
    assert not path.exists()


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_polls_of_a_whole_heat_pump_come_back_as_they_were_sent(cache, path, profile):
    sent = reals(50, profile)
    append(cache, sent)
    content = read(path)
    assert list(content.polls) == sent
    assert content.missed == content.rejected == []


def test_extreme_values_and_empty_blocks_come_back_as_they_were_sent(cache):
    sent = [
        Snapshot(-5, 1, 1, (), (), (), flags=CLOCK_DOUBTED),
        Snapshot(0, 0, 0, (2**31 - 1, -(2**31), 0, -1), (-(2**31),), (-128, 127), -7, 86_400, 15),
        Snapshot(2**52, 254_000, 11, (0,), (), (1,), flags=CLOCK_DOUBTED),
    ]
    append(cache, sent)
    first, last = journal.paths(cache)
    assert (first.name, last.name) == (
        "cache.sqlite3.polls-1970-01-01.jsonl",
        "cache.sqlite3.polls-9999-12-31.jsonl",
    )
    assert [*read(first).polls, *read(last).polls] == sent


def test_each_utc_day_has_a_journal_of_its_own_and_others_names_are_none(cache):
    day_ms = START_MS - START_MS % 86_400_000
    times = [day_ms - 1, day_ms, day_ms + 86_399_999, day_ms + 86_400_000]
    append(cache, [small(ts_ms) for ts_ms in times])
    for name in (".polls-2027-01-15.jsonl.bak", ".polls-.jsonl", ".rejected.jsonl", "-journal"):
        cache.with_name(cache.name + name).touch()
    found = journal.paths(cache)
    assert [path.name[-16:] for path in found] == [
        *("2027-01-14.jsonl", "2027-01-15.jsonl", "2027-01-16.jsonl"),
    ]
    assert [[poll.taken_ms for poll in read(path).polls] for path in found] == [
        *([times[0]], times[1:3], times[3:]),
    ]


@pytest.mark.parametrize("ts_ms", [-5, EARLIEST_MS - 1, LATEST_MS])
def test_a_time_that_no_clock_showed_is_damage_unless_the_clock_is_doubted(cache, ts_ms):
    append(cache, [small(ts_ms), MISSED._replace(ts_ms=ts_ms)])
    append(cache, [small(ts_ms)._replace(flags=CLOCK_DOUBTED)])
    [path] = journal.paths(cache)
    found = read(path)
    assert (len(found.polls), len(found.missed), len(found.rejected)) == (1, 0, 2)
    assert journal.waiting(path, 0).rejected == 2


def test_blocks_of_the_largest_size_come_back_though_the_writer_looks_back_less_far(cache, path):
    """10,000 registers in each block is what the client accepts at most."""
    huge = tuple(range(-(2**31), -(2**31) + 10_000))
    sent = [Snapshot(START_MS + number, 9, 1, huge, huge, huge) for number in range(3)]
    append(cache, sent)
    assert list(read(path).polls) == sent


def test_polls_and_missed_polls_may_alternate(cache, path):
    sent, missed_polls = polls(30), []
    for number, poll in enumerate(sent):
        append(cache, [poll])
        if number % 3 == 0:
            missed_polls.append(MISSED._replace(ts_ms=START_MS + 500 + number))
            append(cache, [missed_polls[-1]])
    content = read(path)
    assert list(content.polls) == sent
    assert list(content.missed) == missed_polls


@pytest.mark.parametrize(
    "detail",
    [
        "Wärmepumpe: Zeitüberschreitung nach 60 s €😀",
        'quotes " and \\ and {"p":[1],"r":"00000000"}',
        "two\nlines\r\nand\u2028more\x85",
        "\0\x01\x7f",
        "",
        "x" * 100_000,
        "host \udce4 from an environment that is not UTF-8",
    ],
    ids=["umlauts", "quotes", "line breaks", "controls", "empty", "long", "surrogate"],
)
def test_any_text_may_be_the_detail_of_a_missed_poll(cache, path, detail):
    missed_poll = MISSED._replace(detail=detail)
    append(cache, [missed_poll])
    append(cache, [small(START_MS)])
    content = read(path)
    assert content.missed == [missed_poll]
    assert content.polls == [small(START_MS)]
    assert len(lines(path)) == 2


def test_a_repair_comes_back_as_it_was_made(cache):
    moved = Repair("5b" * 32, START_MS - 7, START_MS - 5, START_MS)
    removed = moved._replace(new_ms=None, done_ms=START_MS + 1)
    append(cache, [moved, removed])
    assert read(journal.path_at(cache, START_MS)).repairs == [moved, removed]


def test_each_line_is_json_with_the_documented_members(cache, path):
    append(cache, [small(START_MS, took_ms=98, tries=2), small(START_MS + 1)])
    append(cache, [MISSED, Repair("5b" * 32, START_MS - 7, None, START_MS)])
    first, second, third, fourth = (json.loads(line) for line in lines(path))
    head = ["v", "i", "t", "d", "n", "l", "e", "f", "c"]
    assert list(first) == [*head, "h", "p", "s", "k"]
    assert list(second) == [*head, "r", "k"]
    assert list(third) == ["v", "i", "t", "m", "n", "d", "x", "l", "e", "f", "k"]
    assert list(fourth) == ["v", "i", "t", "a", "o", "w", "k"]
    poll = small(START_MS)
    assert [first[name] for name in head[:-1]] == [1, 1, START_MS, 98, 2, *poll[6:]]
    assert (first["c"], first["p"], first["s"]) == tuple(
        map(list, (poll.calculations, poll.parameters, poll.visibilities))
    )
    text = json.dumps([first["p"], first["s"]], separators=(",", ":"))
    assert first["h"] == second["r"] == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert (third["m"], third["n"], third["d"], third["x"]) == (
        *("timeout", 4, 254_000),
        MISSED.detail,
    )
    assert (fourth["t"], fourth["a"], fourth["o"], fourth["w"]) == (
        *(START_MS, "5b" * 32),
        *(START_MS - 7, None),
    )


def test_the_checksum_of_a_line_can_be_verified_by_its_description(cache, path):
    append(cache, polls(2))
    for line in lines(path):
        assert line == sealed(line.rpartition(b',"k"')[0].decode())


# Numbers


def test_lines_of_both_kinds_are_numbered_together(cache, path):
    numbers = append(cache, polls(1))
    append(cache, [MISSED])
    numbers += append(cache, polls(30))
    assert numbers == [1, *range(3, 33)]
    assert [json.loads(line)["i"] for line in lines(path)] == list(range(1, 33))


def test_a_writer_learns_the_number_of_the_poll_before_its_own(cache):
    append(cache, [small(START_MS), MISSED, MISSED])
    assert journal.append(cache, small(START_MS + 1), wait_s=5) == (4, 1)
    assert journal.append(cache, MISSED, wait_s=5) == (5, 4)
    assert journal.append(cache, small(START_MS + 86_400_000), wait_s=5) == (1, 0)


@pytest.mark.parametrize("garbage", [b"\0" * 5000 + b"\n", b"garbage", b'{"v":1,"i":x,\n'])
def test_numbers_go_on_behind_garbage(cache, path, garbage):
    append(cache, polls(3))
    with path.open("ab") as file:
        file.write(garbage)
    assert append(cache, polls(1)) >= [4]


def test_numbers_go_on_behind_a_line_torn_inside_its_own_number(cache, path):
    append(cache, polls(12))
    whole = path.read_bytes()
    cut = whole.rindex(b'"i":12,') + len(b'"i":1')
    path.write_bytes(whole[:cut])
    assert append(cache, polls(1)) >= [12]


# Settings are written when they change, and every 20 lines


def test_equal_settings_are_not_written_again(cache, path):
    append(cache, polls(10))
    assert [is_complete(line) for line in lines(path)] == [True, *[False] * 9]
    assert len(lines(path)[1]) < len(lines(path)[0])


@pytest.mark.parametrize("ticks_every", [0, 3, 7])
def test_settings_are_repeated_so_that_at_most_twenty_lines_depend_on_one(cache, path, ticks_every):
    for number, poll in enumerate(polls(100)):
        append(cache, [poll])
        if ticks_every and number % ticks_every == 0:
            append(cache, [MISSED])
    depending = [0]
    for line in lines(path):
        if is_complete(line):
            depending.append(0)
        elif b'"r":' in line:
            depending[-1] += 1
    assert max(depending) <= 20
    assert ticks_every or max(depending) == 20
    assert len(depending) - 1 <= len(lines(path)) // 21 + 1


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {3: 7}},
        {"visibilities": {0: 7}},
        {"lengths": (95, 7, 4)},
        {"lengths": (95, 6, 3)},
        # One more parameter and one visibility less: the same integers in the same order.
        {
            "parameters": {6: 1000},
            "visibilities": {0: 1001, 1: 1002, 2: 1003},
            "lengths": (95, 7, 3),
        },
    ],
)
def test_settings_that_differ_are_written_at_once_and_again_when_they_return(cache, path, change):
    usual, other = small(START_MS), small(START_MS, **change)
    sent = [usual, other, other, usual, usual]
    append(cache, sent)
    assert [is_complete(line) for line in lines(path)] == [True, True, False, True, False]
    assert list(read(path).polls) == sent


@pytest.mark.parametrize("seed", range(5))
def test_settings_that_change_at_random_come_back_as_they_were_sent(cache, path, seed):
    rng = random.Random(seed)
    sent = [
        small(START_MS + n, {1: n}, {2: rng.randrange(2)}, {1: rng.randrange(3) // 2})
        for n in range(60)
    ]
    append(cache, sent)
    assert list(read(path).polls) == sent


def test_a_writer_does_not_refer_to_settings_that_are_damaged(cache, path):
    append(cache, polls(2))
    data = bytearray(path.read_bytes())
    data[data.index(b'"p":[') + 6] ^= 1
    path.write_bytes(data)
    later = small(START_MS + 99)
    append(cache, [later])
    assert is_complete(lines(path)[-1])
    content = read(path)
    assert content.polls == [later]
    assert len(content.rejected) == 2


def test_a_damaged_line_with_settings_costs_the_twenty_lines_behind_it_at_most(cache, path):
    sent = polls(60)
    append(cache, sent)
    damaged = lines(path)
    place = next(n for n, line in enumerate(damaged) if n > 0 and is_complete(line))
    damaged[place] = damaged[place].replace(b'"c":[1', b'"c":[2', 1)
    path.write_bytes(b"".join(damaged))
    content = read(path)
    assert list(content.polls) == [p for p in sent if p in content.polls]
    # Lines that name the settings of the damaged one may use an equal pair further up.
    assert len(content.polls) >= 60 - 21
    assert damaged[place].rstrip(b"\n") in content.rejected
    assert len(content.polls) + len(content.rejected) == 60


# Damage


@pytest.mark.parametrize("last", ["reference", "complete", "missed"])
def test_a_line_torn_anywhere_harms_neither_those_before_nor_the_next(cache, path, last):
    shape = (8, 4, 3)
    sent = [small(START_MS + n, {1: n}, lengths=shape) for n in range(3)]
    later = small(START_MS + 99, {5: 5}, lengths=shape)
    append(cache, sent)
    missed_polls: list[MissedPoll] = []
    if last == "reference":
        torn = small(START_MS + 50, lengths=shape)
    elif last == "complete":
        torn = small(START_MS + 50, parameters={1: 1}, lengths=shape)
    before = path.stat().st_size
    if last == "missed":
        append(cache, [MISSED])
        missed_polls = [MISSED]
    else:
        append(cache, [torn])
        sent.append(torn)
    whole = path.read_bytes()

    for cut in range(before, len(whole) + 1):
        is_whole = cut >= len(whole) - 1  # only the line break may be missing
        kept = sent if is_whole or last == "missed" else sent[:-1]
        piece = [] if is_whole or cut == before else [whole[before:cut]]
        path.write_bytes(whole[:cut])

        content = read(path)
        assert list(content.polls) == kept
        assert content.missed == (missed_polls if is_whole else [])
        assert content.rejected == piece

        assert append(cache, [later]) in ([4], [5])
        content = read(path)
        assert list(content.polls) == [*kept, later]
        assert content.missed == (missed_polls if is_whole else [])
        assert content.rejected == piece


def test_a_missed_poll_is_appended_behind_a_torn_line_as_well(cache, path):
    append(cache, polls(2))
    whole = path.read_bytes()
    for cut in range(len(lines(path)[0]), len(whole), 7):
        path.write_bytes(whole[:cut])
        append(cache, [MISSED])
        content = read(path)
        assert content.missed == [MISSED]
        assert list(content.polls) == polls(2)[: 1 + (cut == len(whole) - 1)]


@pytest.mark.parametrize(
    "number", sampled({"complete": 0, "reference": 1, "missed": 3}, ["reference", "missed"])
)
@pytest.mark.no_cover
def test_a_flipped_bit_anywhere_is_noticed_and_nothing_is_read_wrong(cache, path, number):
    lengths = (8, 4, 3)
    sent = [small(START_MS + n, {1: n}, lengths=lengths) for n in range(3)]
    append(cache, sent)
    append(cache, [MISSED])
    sent.append(small(START_MS + 9, parameters={0: 1}, lengths=lengths))
    append(cache, [sent[-1]])
    before, damaged, behind = lines(path)[:number], lines(path)[number], lines(path)[number + 1 :]

    for place in range(len(damaged)):
        for bit in range(8):
            flipped = bytearray(damaged)
            flipped[place] ^= 1 << bit
            path.write_bytes(b"".join([*before, flipped, *behind]))
            content = read(path)
            assert content.rejected, f"bit {bit} of byte {place} went unnoticed"
            found = [*content.polls, *content.missed]
            assert all(entry in sent or entry == MISSED for entry in found)
            if place == len(damaged) - 1:
                continue  # without its line break it takes the next line with it
            if number == 0:  # the others refer to its settings
                assert found == [sent[-1], MISSED]
            elif number == 1:
                assert found == [sent[0], sent[2], sent[3], MISSED]
            else:
                assert found == sent


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage",
        b"{}",
        b"null",
        b"[1,2]",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"v":1,"i":1,"t":1,"d":1,"n":1,"c":[1],"p":[1],"s":[1]}',
        b',"k":"00000000"}',
        sealed('{"v":1').rstrip(),
        sealed('{"v":2,"i":1,"t":1,"d":1,"n":1,"c":[1],"p":[1],"s":[1]').rstrip(),
        sealed('{"v":1,"i":1,"t":1,"d":1,"n":1,"c":[1],"r":"00000000"').rstrip(),
    ],
)
def test_a_line_that_is_not_ours_is_kept_apart_as_it_stands(cache, path, garbage):
    sent = polls(4)
    append(cache, sent[:2])
    with path.open("ab") as file:
        file.write(garbage + b"\n")
    append(cache, sent[2:])
    content = read(path)
    assert list(content.polls) == sent
    assert content.rejected == [garbage]


@pytest.mark.parametrize("length", [1, 100, 4096, 200_000])
def test_a_tail_of_zeros_after_a_power_cut_costs_nothing(cache, path, length):
    sent = polls(5)
    append(cache, sent[:3])
    with path.open("ab") as file:
        file.write(b"\0" * length)
    append(cache, sent[3:])
    content = read(path)
    assert list(content.polls) == sent
    assert content.rejected == [b"\0" * length]


def test_a_block_of_zeros_anywhere_never_makes_a_wrong_poll(cache, path):
    sent = [small(START_MS + n, {7: n}, {0: n // 4}) for n in range(12)]
    append(cache, sent)
    whole = path.read_bytes()
    for start in range(0, len(whole), 97):
        path.write_bytes(whole[:start] + b"\0" * 512 + whole[start + 512 :])
        content = read(path)
        assert all(poll in sent for poll in content.polls)
        assert content.rejected
        assert len(content.polls) >= 12 - 6


def test_empty_lines_mean_nothing(cache, path):
    append(cache, polls(2))
    path.write_bytes(b"\n\n" + path.read_bytes().replace(b"\n", b"\n\n"))
    content = read(path)
    assert list(content.polls) == polls(2)
    assert content.rejected == []


# What is in the database already


def test_a_file_is_known_by_the_end_of_what_was_read_of_it(cache, path):
    append(cache, polls(5))
    (part,) = journal.parts(path)
    known = (part.offset, part.tail)
    assert journal.unread(path, *known, wait_s=1) == (part.offset, part.offset)
    append(cache, polls(2))
    begins, ends = journal.unread(path, *known, wait_s=1)
    assert (begins, ends) == (part.offset, path.stat().st_size)
    assert read(path, begins).polls == polls(2)
    other = path.read_bytes().replace(b'"d":95', b'"d":96')
    path.write_bytes(b"".join(line for line in other.splitlines(keepends=True)))
    data = bytearray(path.read_bytes())
    data[part.offset - 3] ^= 1
    path.write_bytes(data)
    assert journal.unread(path, *known, wait_s=1)[0] == 0
    path.write_bytes(path.read_bytes()[: part.offset - 1])
    assert journal.unread(path, *known, wait_s=1)[0] == 0


@pytest.mark.parametrize("read_before", range(1, 45))
def test_lines_are_read_from_anywhere_though_their_settings_stand_before(cache, path, read_before):
    sent = polls(45)
    append(cache, sent)
    offset = sum(map(len, lines(path)[:read_before]))
    assert read(path, offset).polls == sent[read_before:]


def test_a_last_line_that_is_being_written_is_left_out_and_not_called_damaged(cache, path):
    append(cache, polls(3))
    whole = path.read_bytes()
    before = sum(map(len, lines(path)[:2]))
    for cut in range(before + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        (part,) = journal.parts(path)
        assert (part.polls, part.rejected, part.offset) == (tuple(polls(2)), (), before)
        assert journal.waiting(path, 0).rejected == 0
        assert journal.waiting(path, 0).size == before


def test_a_long_journal_is_read_in_parts_whose_ends_can_be_gone_on_from(cache, path):
    sent = polls(70)
    append(cache, sent)
    parts = list(journal.parts(path, count=30))
    assert [part.lines for part in parts] == [30, 30, 10]
    for part in parts:
        later = [poll for other in parts if other.offset > part.offset for poll in other.polls]
        assert read(path, part.offset).polls == later


def test_lines_of_any_length_are_read_in_pieces_and_cost_a_megabyte_each(cache, path):
    append(cache, polls(1))
    long = b"x" * 5_000_000
    with path.open("ab") as file:
        for _ in range(6):
            file.write(long + b"\n")
    append(cache, polls(2))
    tracemalloc.start()
    try:
        found = [(len(part.polls), sum(map(len, part.rejected))) for part in journal.parts(path)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(count for count, _ in found) == 3
    assert sum(length for _, length in found) == 6 * 1024 * 1024
    assert peak < 16_000_000
    assert journal.waiting(path, 0).rejected == 6


def test_the_last_poll_is_read_with_its_settings_whatever_stands_behind_it(cache, path):
    sent = polls(30)
    for number, poll in enumerate(sent):
        append(cache, [poll])
        assert journal.last_poll(cache) == poll, number
    append(cache, [MISSED])
    with path.open("ab") as file:
        file.write(b'garbage\n{"v":1,"i":40,"t":7,"d":')
    assert journal.last_poll(cache) == sent[-1]
    with path.open("ab") as file:
        file.write(b"\n" + b"\0" * 200_000)
    assert journal.last_poll(cache) == sent[-1]


def test_the_last_poll_is_one_whose_time_is_not_doubted_however_many_stand_behind_it(cache):
    doubted = [one._replace(flags=CLOCK_DOUBTED) for one in reals(200, start_ms=START_MS + 60_000)]
    append(cache, doubted[:1])
    assert journal.last_poll(cache) == doubted[0]
    right = real(START_MS)
    append(cache, [right, *doubted[1:]])
    append(cache, [one._replace(taken_ms=one.taken_ms + 9 * 365 * 86_400_000) for one in doubted])
    assert journal.last_poll(cache) == right


# Removal and damaged lines


@pytest.mark.parametrize("change", [-1, 1])
def test_a_journal_that_has_changed_since_is_not_removed(cache, path, change):
    append(cache, polls(2))
    size = path.stat().st_size
    assert not journal.remove(path, size + change, wait_s=1)
    assert read(path).polls == polls(2)
    assert journal.remove(path, size, wait_s=1)
    assert not path.exists()
    assert journal.remove(path, size, wait_s=1), "it is gone"


def test_a_writer_that_waited_for_a_journal_which_was_removed_begins_a_new_one(cache, path):
    append(cache, polls(2))
    code = """
import sys
from pathlib import Path
from luxcli.store import journal
from tests.support.builders import START_MS, small
print("ready", flush=True)
journal.append(Path(sys.argv[1]), small(START_MS + 9), wait_s=9)
"""
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with python(code, cache) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.2)
            path.unlink()
            fcntl.flock(held, fcntl.LOCK_UN)
            assert writer.wait(9) == 0
    assert read(path).polls == [small(START_MS + 9)]


def test_damaged_lines_are_added_once_to_those_that_are_there(tmp_path):
    path = tmp_path / "rejected.jsonl"
    journal.keep_lines(path, [b"one", b"\xff\0two", b"one"])
    journal.keep_lines(path, [b"three", b"one"])
    journal.keep_lines(path, [])
    assert path.read_bytes() == b"one\n\xff\0two\nthree\n"


# A file system that refuses


@pytest.mark.parametrize("place", ["directory", "pipe", "link", "below a file"])
def test_a_journal_that_is_no_file_is_a_storage_error_with_its_path(tmp_path, cache, path, place):
    if place == "directory":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    elif place == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "file").write_text("")
        cache = tmp_path / "file" / "cache.sqlite3"
        path = journal.path_at(cache, START_MS)
    for call in (
        lambda: list(journal.parts(path)),
        lambda: journal.append(cache, small(START_MS), wait_s=1),
        lambda: journal.append(cache, MISSED, wait_s=1),
        lambda: journal.unread(path, 0, "", wait_s=1),
        lambda: journal.waiting(path, 0),
        lambda: journal.keep_lines(path, [b"x"]),
    ):
        with pytest.raises(StorageError) as error:
            call()
        assert str(path) in str(error.value)
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_directory_is_a_storage_error_and_is_not_made(tmp_path):
    with pytest.raises(StorageError):
        journal.append(tmp_path / "missing" / "cache", small(START_MS), wait_s=1)
    assert not (tmp_path / "missing").exists()


def test_a_journal_that_another_process_keeps_is_not_waited_for_for_ever(cache, path):
    append(cache, polls(1))
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockHeldError, match="polls-2027"):
            journal.append(cache, small(START_MS), wait_s=0.1)
        with pytest.raises(LockHeldError):
            journal.unread(path, 0, "", wait_s=0.1)
        assert journal.waiting(path, 0).polls_ms == (START_MS,), "readers need no lock"


def test_others_can_neither_read_nor_write_a_journal(cache, path):
    previous = os.umask(0)
    try:
        append(cache, [small(START_MS)])
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_line_and_new_name_are_on_the_disk_before_a_poll_is_acknowledged(cache, path):
    code = """
import sys
from pathlib import Path
from luxcli.store import journal
from tests.support.builders import START_MS, small
journal.append(Path(sys.argv[1]), small(START_MS), wait_s=5)
print("acknowledged", flush=True)
"""
    calls = traced(code, cache)
    if calls is None:
        pytest.skip("needs strace")
    order = [
        next(n for n, call in enumerate(calls) if call.startswith(start) and end in call)
        for start, end in (
            # The name first: the next poll sees a file that is not empty and relies on it.
            ("fsync(", f"<{path.parent}>) = 0"),
            ("write(", f"<{path}>"),
            ("fsync(", f"<{path}>) = 0"),
            ("write(1<", "acknowledged"),
        )
    ]
    assert order == sorted(order)
    assert sum(f"<{path}>" in call for call in calls) == 2, "one write and one sync is all it costs"


def test_a_line_that_the_disk_takes_only_in_part_is_taken_back(cache, path):
    """Every possible number of bytes is let through, by a limit to the size of files."""
    append(cache, polls(3))
    code = """
import resource, signal, sys
from pathlib import Path
from luxcli.store import journal
from luxcli.errors import StorageError
from tests.support.builders import START_MS, small
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache = Path(sys.argv[1])
path = journal.path_at(cache, START_MS)
before, poll = path.read_bytes(), small(START_MS + 99)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
limit = len(before)
while True:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        number = journal.append(cache, poll, wait_s=5).number
    except StorageError as exc:
        assert str(path) in str(exc)
    else:
        break
    assert path.read_bytes() == before, limit
    limit += 1
print(number, limit - len(before), path.stat().st_size - len(before))
"""
    with python(code, cache) as process:
        out, _ = process.communicate(timeout=9)
    assert process.returncode == 0
    number, room, size = map(int, out.split())
    assert number == 4
    assert room == size, "refused a line although it would have fitted"
    assert list(read(path).polls) == [*polls(3), small(START_MS + 99)]


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        cache, filler = directory / "cache.sqlite3", directory / "filler"
        path = journal.path_at(cache, START_MS)
        filler.write_bytes(b"x" * 30_000)
        acknowledged, refused = [], 0
        for number in range(200):
            poll = small(START_MS + number, {3: number})
            try:
                append(cache, [poll])
            except StorageError:
                refused += 1
                if refused == 5:
                    filler.unlink()  # somebody makes room
            else:
                acknowledged.append(poll)
        content = read(path)
        assert list(content.polls) == acknowledged
        assert refused > 5
        assert content.polls[-1].taken_ms > START_MS + len(acknowledged) - 1
        assert all(b'"k":' not in line for line in content.rejected)
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_the_polls_of_a_whole_heat_pump_stay_small(cache, path):
    """A third of a poll's bytes is what the settings rarely add."""
    append(cache, [real(START_MS)] * 20)
    first, *others = map(len, lines(path))
    assert first < 12_000
    assert max(others) < 2_000
