"""The write-ahead buffer: what was acknowledged comes back, whatever became of the file."""

import json
import os
import random
import stat
import subprocess
import zlib
from pathlib import Path

import pytest

from luxcli.errors import StorageError
from luxcli.model import MissedPoll, Snapshot
from luxcli.store import buffer
from tests.support.builders import START_MS, python, real, reals, small, traced
from tests.support.tiers import sampled

MISSED = MissedPoll(START_MS, "timeout", 4, 254_000, "127.0.0.1:8889: no complete answer")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite3.buffer.jsonl"


def polls(count: int) -> list[Snapshot]:
    """Return polls whose settings never change."""
    return [small(START_MS + number, {10: number}) for number in range(count)]


def append(path: Path, entries: list[Snapshot]) -> list[int]:
    return [buffer.append_poll(path, entry) for entry in entries]


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


def test_a_missing_file_is_an_empty_buffer_and_reading_does_not_make_one(path):
    assert buffer.read(path) == buffer.Content((), (), (), 0)
    assert not path.exists()


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_polls_of_a_whole_heat_pump_come_back_as_they_were_sent(path, profile):
    sent = reals(50, profile)
    append(path, sent)
    content = buffer.read(path)
    assert list(content.polls) == sent
    assert content.missed == content.rejected == ()
    assert content.size == path.stat().st_size


def test_extreme_values_and_empty_blocks_come_back_as_they_were_sent(path):
    sent = [
        Snapshot(0, 0, 0, (2**31 - 1, -(2**31), 0, -1), (-(2**31),), (-128, 127)),
        Snapshot(-5, 1, 1, (), (), ()),
        Snapshot(2**52, 254_000, 11, (0,), (), (1,)),
    ]
    append(path, sent)
    assert list(buffer.read(path).polls) == sent


def test_blocks_of_the_largest_size_come_back_though_the_writer_looks_back_less_far(path):
    """10,000 registers in each block is what the client accepts at most."""
    huge = tuple(range(-(2**31), -(2**31) + 10_000))
    sent = [Snapshot(START_MS + number, 9, 1, huge, huge, huge) for number in range(3)]
    append(path, sent)
    assert list(buffer.read(path).polls) == sent


def test_polls_and_missed_polls_may_alternate(path):
    sent, missed_polls = polls(30), []
    for number, poll in enumerate(sent):
        buffer.append_poll(path, poll)
        if number % 3 == 0:
            missed_polls.append(MISSED._replace(ts_ms=START_MS + 500 + number))
            buffer.append_missed(path, missed_polls[-1])
    content = buffer.read(path)
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
def test_any_text_may_be_the_detail_of_a_missed_poll(path, detail):
    missed_poll = MISSED._replace(detail=detail)
    buffer.append_missed(path, missed_poll)
    buffer.append_poll(path, small(START_MS))
    content = buffer.read(path)
    assert content.missed == (missed_poll,)
    assert content.polls == (small(START_MS),)
    assert len(lines(path)) == 2


def test_each_line_is_json_with_the_documented_members(path):
    append(path, [small(START_MS, took_ms=98, tries=2), small(START_MS + 1)])
    buffer.append_missed(path, MISSED)
    first, second, third = (json.loads(line) for line in lines(path))
    assert list(first) == ["v", "i", "t", "d", "n", "c", "p", "s", "k"]
    assert list(second) == ["v", "i", "t", "d", "n", "c", "r", "k"]
    assert list(third) == ["v", "i", "t", "m", "n", "d", "x", "k"]
    poll = small(START_MS)
    assert (first["v"], first["i"], first["t"], first["d"], first["n"]) == (1, 1, START_MS, 98, 2)
    assert (first["c"], first["p"], first["s"]) == tuple(
        map(list, (poll.calculations, poll.parameters, poll.visibilities))
    )
    assert (third["m"], third["n"], third["d"], third["x"]) == (
        *("timeout", 4, 254_000),
        MISSED.detail,
    )


def test_the_checksum_of_a_line_can_be_verified_by_its_description(path):
    append(path, polls(2))
    for line in lines(path):
        assert line == sealed(line.rpartition(b',"k"')[0].decode())


# Numbers


def test_lines_of_both_kinds_are_numbered_together(path):
    numbers = [buffer.append_poll(path, small(START_MS))]
    buffer.append_missed(path, MISSED)
    numbers += append(path, polls(30))
    assert numbers == [1, *range(3, 33)]
    assert [json.loads(line)["i"] for line in lines(path)] == list(range(1, 33))


def test_numbers_begin_again_in_a_cleared_buffer(path):
    append(path, polls(3))
    buffer.clear(path, path.stat().st_size)
    assert append(path, polls(2)) == [1, 2]


@pytest.mark.parametrize("garbage", [b"\0" * 5000 + b"\n", b"garbage", b'{"v":1,"i":x,\n'])
def test_numbers_go_on_behind_garbage(path, garbage):
    append(path, polls(3))
    with path.open("ab") as file:
        file.write(garbage)
    assert buffer.append_poll(path, small(START_MS)) >= 4


def test_numbers_go_on_behind_a_line_torn_inside_its_own_number(path):
    append(path, polls(12))
    whole = path.read_bytes()
    cut = whole.rindex(b'"i":12,') + len(b'"i":1')
    path.write_bytes(whole[:cut])
    assert buffer.append_poll(path, small(START_MS)) >= 12


# Settings are written when they change, and every 20 lines


def test_equal_settings_are_not_written_again(path):
    append(path, polls(10))
    assert [is_complete(line) for line in lines(path)] == [True, *[False] * 9]
    assert len(lines(path)[1]) < len(lines(path)[0])


@pytest.mark.parametrize("ticks_every", [0, 3, 7])
def test_settings_are_repeated_so_that_at_most_twenty_lines_depend_on_one(path, ticks_every):
    for number, poll in enumerate(polls(100)):
        buffer.append_poll(path, poll)
        if ticks_every and number % ticks_every == 0:
            buffer.append_missed(path, MISSED)
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
def test_settings_that_differ_are_written_at_once_and_again_when_they_return(path, change):
    usual, other = small(START_MS), small(START_MS, **change)
    sent = [usual, other, other, usual, usual]
    append(path, sent)
    assert [is_complete(line) for line in lines(path)] == [True, True, False, True, False]
    assert list(buffer.read(path).polls) == sent


@pytest.mark.parametrize("seed", range(5))
def test_settings_that_change_at_random_come_back_as_they_were_sent(path, seed):
    rng = random.Random(seed)
    sent = [
        small(START_MS + n, {1: n}, {2: rng.randrange(2)}, {1: rng.randrange(3) // 2})
        for n in range(60)
    ]
    append(path, sent)
    assert list(buffer.read(path).polls) == sent


def test_a_writer_does_not_refer_to_settings_that_are_damaged(path):
    append(path, polls(2))
    data = bytearray(path.read_bytes())
    data[data.index(b'"p":[') + 6] ^= 1
    path.write_bytes(data)
    later = small(START_MS + 99)
    buffer.append_poll(path, later)
    assert is_complete(lines(path)[-1])
    content = buffer.read(path)
    assert content.polls == (later,)
    assert len(content.rejected) == 2


def test_a_damaged_line_with_settings_costs_the_twenty_lines_behind_it_at_most(path):
    sent = polls(60)
    append(path, sent)
    damaged = lines(path)
    place = next(n for n, line in enumerate(damaged) if n > 0 and is_complete(line))
    damaged[place] = damaged[place].replace(b'"c":[1', b'"c":[2', 1)
    path.write_bytes(b"".join(damaged))
    content = buffer.read(path)
    assert list(content.polls) == [p for p in sent if p in content.polls]
    # Lines that name the settings of the damaged one may use an equal pair further up.
    assert len(content.polls) >= 60 - 21
    assert damaged[place].rstrip(b"\n") in content.rejected
    assert len(content.polls) + len(content.rejected) == 60


# Damage


@pytest.mark.parametrize("last", ["reference", "complete", "missed"])
def test_a_line_torn_anywhere_harms_neither_those_before_nor_the_next(path, last):
    shape = (8, 4, 3)
    sent = [small(START_MS + n, {1: n}, lengths=shape) for n in range(3)]
    later = small(START_MS + 99, {5: 5}, lengths=shape)
    append(path, sent)
    missed_polls: tuple[MissedPoll, ...] = ()
    if last == "reference":
        torn = small(START_MS + 50, lengths=shape)
    elif last == "complete":
        torn = small(START_MS + 50, parameters={1: 1}, lengths=shape)
    before = path.stat().st_size
    if last == "missed":
        buffer.append_missed(path, MISSED)
        missed_polls = (MISSED,)
    else:
        buffer.append_poll(path, torn)
        sent.append(torn)
    whole = path.read_bytes()

    for cut in range(before, len(whole) + 1):
        is_whole = cut >= len(whole) - 1  # only the line break may be missing
        kept = sent if is_whole or last == "missed" else sent[:-1]
        piece = () if is_whole or cut == before else (whole[before:cut],)
        path.write_bytes(whole[:cut])

        content = buffer.read(path)
        assert list(content.polls) == kept
        assert content.missed == (missed_polls if is_whole else ())
        assert content.rejected == piece

        assert buffer.append_poll(path, later) in (4, 5)
        content = buffer.read(path)
        assert list(content.polls) == [*kept, later]
        assert content.missed == (missed_polls if is_whole else ())
        assert content.rejected == piece


def test_a_missed_poll_is_appended_behind_a_torn_line_as_well(path):
    append(path, polls(2))
    whole = path.read_bytes()
    for cut in range(len(lines(path)[0]), len(whole), 7):
        path.write_bytes(whole[:cut])
        buffer.append_missed(path, MISSED)
        content = buffer.read(path)
        assert content.missed == (MISSED,)
        assert list(content.polls) == polls(2)[: 1 + (cut == len(whole) - 1)]


@pytest.mark.parametrize(
    "number", sampled({"complete": 0, "reference": 1, "missed": 3}, ["reference", "missed"])
)
@pytest.mark.no_cover
def test_a_flipped_bit_anywhere_is_noticed_and_nothing_is_read_wrong(path, number):
    lengths = (8, 4, 3)
    sent = [small(START_MS + n, {1: n}, lengths=lengths) for n in range(3)]
    append(path, sent)
    buffer.append_missed(path, MISSED)
    sent.append(small(START_MS + 9, parameters={0: 1}, lengths=lengths))
    buffer.append_poll(path, sent[-1])
    before, damaged, behind = lines(path)[:number], lines(path)[number], lines(path)[number + 1 :]

    for place in range(len(damaged)):
        for bit in range(8):
            flipped = bytearray(damaged)
            flipped[place] ^= 1 << bit
            path.write_bytes(b"".join([*before, flipped, *behind]))
            content = buffer.read(path)
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
def test_a_line_that_is_not_ours_is_kept_apart_as_it_stands(path, garbage):
    sent = polls(4)
    append(path, sent[:2])
    with path.open("ab") as file:
        file.write(garbage + b"\n")
    append(path, sent[2:])
    content = buffer.read(path)
    assert list(content.polls) == sent
    assert content.rejected == (garbage,)


@pytest.mark.parametrize("length", [1, 100, 4096, 200_000])
def test_a_tail_of_zeros_after_a_power_cut_costs_nothing(path, length):
    sent = polls(5)
    append(path, sent[:3])
    with path.open("ab") as file:
        file.write(b"\0" * length)
    append(path, sent[3:])
    content = buffer.read(path)
    assert list(content.polls) == sent
    assert content.rejected == (b"\0" * length,)


def test_a_block_of_zeros_anywhere_never_makes_a_wrong_poll(path):
    sent = [small(START_MS + n, {7: n}, {0: n // 4}) for n in range(12)]
    append(path, sent)
    whole = path.read_bytes()
    for start in range(0, len(whole), 97):
        path.write_bytes(whole[:start] + b"\0" * 512 + whole[start + 512 :])
        content = buffer.read(path)
        assert all(poll in sent for poll in content.polls)
        assert content.rejected
        assert len(content.polls) >= 12 - 6


def test_empty_lines_mean_nothing(path):
    append(path, polls(2))
    path.write_bytes(b"\n\n" + path.read_bytes().replace(b"\n", b"\n\n"))
    content = buffer.read(path)
    assert list(content.polls) == polls(2)
    assert content.rejected == ()


# Clearing and quarantine


def test_clearing_forgets_everything_that_was_read(path):
    append(path, polls(2))
    buffer.clear(path, buffer.read(path).size)
    assert path.stat().st_size == 0
    assert buffer.read(path) == buffer.Content((), (), (), 0)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_buffer_that_has_changed_since_is_not_cleared(path, change):
    append(path, polls(2))
    size = path.stat().st_size
    with pytest.raises(StorageError, match="changed"):
        buffer.clear(path, size + change)
    assert list(buffer.read(path).polls) == polls(2)


def test_clearing_a_missing_buffer_is_no_error(path):
    buffer.clear(path, 0)
    assert not path.exists()


def test_quarantined_lines_are_added_to_those_that_are_there(tmp_path):
    path = tmp_path / "rejected.jsonl"
    buffer.quarantine(path, [b"one", b"\xff\0two"])
    buffer.quarantine(path, [b"three"])
    assert path.read_bytes() == b"one\n\xff\0two\nthree\n"


# A file system that refuses


@pytest.mark.parametrize("place", ["directory", "below a file"])
def test_a_buffer_that_cannot_be_read_is_a_storage_error_with_its_path(tmp_path, place):
    path = tmp_path / "there"
    path.mkdir()
    if place == "below a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "buffer.jsonl"
    for call in (
        lambda: buffer.read(path),
        lambda: buffer.append_poll(path, small(START_MS)),
        lambda: buffer.append_missed(path, MISSED),
        lambda: buffer.clear(path, 0),
        lambda: buffer.quarantine(path, [b"x"]),
    ):
        with pytest.raises(StorageError) as error:
            call()
        assert str(path) in str(error.value)


def test_a_missing_directory_is_a_storage_error_and_is_not_made(tmp_path):
    with pytest.raises(StorageError):
        buffer.append_poll(tmp_path / "missing" / "b.jsonl", small(START_MS))
    assert not (tmp_path / "missing").exists()


def test_others_can_neither_read_nor_write_the_buffer(path):
    previous = os.umask(0)
    try:
        buffer.append_poll(path, small(START_MS))
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_line_and_new_name_are_on_the_disk_before_a_poll_is_acknowledged(path):
    code = """
import sys
from pathlib import Path
from luxcli.store import buffer
from tests.support.builders import START_MS, small
buffer.append_poll(Path(sys.argv[1]), small(START_MS))
print("acknowledged", flush=True)
"""
    calls = traced(code, path)
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


def test_a_line_that_the_disk_takes_only_in_part_is_taken_back(path):
    """Every possible number of bytes is let through, by a limit to the size of files."""
    append(path, polls(3))
    code = """
import resource, signal, sys
from pathlib import Path
from luxcli.store import buffer
from luxcli.errors import StorageError
from tests.support.builders import START_MS, small
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
before, poll = path.read_bytes(), small(START_MS + 99)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
limit = len(before)
while True:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        number = buffer.append_poll(path, poll)
    except StorageError as exc:
        assert str(path) in str(exc)
    else:
        break
    assert path.read_bytes() == before, limit
    limit += 1
print(number, limit - len(before), path.stat().st_size - len(before))
"""
    with python(code, path) as process:
        out, _ = process.communicate(timeout=9)
    assert process.returncode == 0
    number, room, size = map(int, out.split())
    assert number == 4
    assert room == size, "refused a line although it would have fitted"
    assert list(buffer.read(path).polls) == [*polls(3), small(START_MS + 99)]


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        path, filler = directory / "b.jsonl", directory / "filler"
        filler.write_bytes(b"x" * 30_000)
        acknowledged, refused = [], 0
        for number in range(200):
            poll = small(START_MS + number, {3: number})
            try:
                buffer.append_poll(path, poll)
            except StorageError:
                refused += 1
                if refused == 5:
                    filler.unlink()  # somebody makes room
            else:
                acknowledged.append(poll)
        content = buffer.read(path)
        assert list(content.polls) == acknowledged
        assert refused > 5
        assert content.polls[-1].taken_ms > START_MS + len(acknowledged) - 1
        assert all(b'"k":' not in line for line in content.rejected)
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_the_polls_of_a_whole_heat_pump_stay_small(path):
    """A third of a poll's bytes is what the settings rarely add."""
    append(path, [real(START_MS)] * 20)
    first, *others = map(len, lines(path))
    assert first < 12_000
    assert max(others) < 2_000
