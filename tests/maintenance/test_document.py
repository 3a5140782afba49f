"""The archive format: lossless, readable without luxcli, and no file costs more than its size."""

import hashlib
import json
import lzma
import random
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from luxcli.errors import DamagedError, StorageError
from luxcli.maintenance import document
from luxcli.maintenance.document import Day
from luxcli.model import MissedPoll, Repair, Snapshot
from luxcli.registers import catalogue
from luxcli.simulator.replay import Replay
from tests.conftest import Cli
from tests.support.scenario import ms

DOCS = Path(__file__).parent.parent.parent / "docs" / "data.md"
DAY = date(2026, 11, 19)


def day_of(profile="msw6", count=100, step_s=30):
    """Return scheduled polls that are a little late, an extra poll, a missed one and repairs."""
    replay = Replay(profile)
    start = ms("2026-11-19T00:00")
    polls = []
    for n in range(count):
        late_ms = 200 + n * 7919 % 97
        poll = replay.at((start + n * step_s * 1000 + late_ms) / 1000)
        polls.append(poll._replace(late_ms=late_ms, interval_s=step_s, flags=0))
    polls[-1] = polls[-1]._replace(late_ms=0, interval_s=0, flags=8)
    missed = (
        MissedPoll(start + 3_600_000, "timeout", 4, 254_000, 'said "no" äöü\nand left', 12, 30, 0),
    )
    repairs = (
        Repair("5a" * 32, 1_000_000, start + 90_000, start + 86_400_000),
        Repair("00" * 32, 2_000_000, None, start + 86_400_000),
    )
    return Day(tuple(polls), missed, repairs, (start, start + 86_400_000))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive" / f"{DAY}.json.xz"


def text_of(path):
    return lzma.decompress(path.read_bytes()).decode()


def rewrite(path, text, *, checksum=True):
    """Write a document as luxcli would, the checksum of a changed one included."""
    if checksum:
        body = text.rpartition(',"sha256":')[0] or text.removesuffix("}")
        sha256 = hashlib.sha256(f"{body}}}".encode()).hexdigest()
        text = f'{body},"sha256":"{sha256}"}}'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(lzma.compress(text.encode()))


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_a_day_reads_back_exactly_as_it_was(path, profile):
    day = day_of(profile)
    document.write(path, day)
    again = document.read(path)
    assert (tuple(again.polls), again.missed, again.repairs) == (
        *(day.polls, day.missed, day.repairs),
    )
    assert again.span == day.span
    assert again == day
    assert len(again.polls) == 100


def test_registers_that_come_and_go_within_a_day_differ_from_zero(path):
    short, long = Replay("msw6"), Replay("long")
    times = [ms("2026-11-19T00:00") / 1000 + n * 600 for n in range(9)]
    polls = tuple((long if n in (2, 3, 7) else short).at(t) for n, t in enumerate(times))
    document.write(path, Day(polls, ()))
    assert tuple(document.read(path).polls) == polls


def test_random_blocks_of_random_lengths_survive(path):
    rng = random.Random(7)
    polls = []
    for n in range(60):
        blocks = [
            tuple(
                rng.choice([0, 1, -1, 2**31 - 1, -(2**31), rng.randint(-999, 999)])
                for _ in range(rng.randint(0, 12))
            )
            for _ in range(3)
        ]
        head = (n * 1000 + rng.randint(0, 99), rng.randint(0, 500), rng.randint(1, 4))
        schedule = (rng.randint(-400, 400_000), rng.choice([0, 10, 30, 3600]), rng.randint(0, 15))
        polls.append(Snapshot(*head, *blocks, *schedule))
    polls[0] = polls[0]._replace(taken_ms=0, late_ms=5)  # scheduled before 1970
    document.write(path, Day(tuple(polls), ()))
    assert tuple(document.read(path).polls) == tuple(polls)


def test_an_empty_day_and_a_single_poll_are_fine(path):
    for day in (Day((), ()), day_of(count=1), Day(day_of(count=2).polls, ())):
        document.write(path, day)
        assert document.read(path) == day


def test_the_same_day_gives_the_same_bytes(path, tmp_path):
    document.write(path, day_of())
    document.write(tmp_path / path.name, day_of())
    assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_settings_that_did_not_change_are_one_object(path):
    """A day takes a hundredth of the room that way."""
    document.write(path, Day(tuple(day_of(count=50).polls), ()))
    polls = list(document.read(path).polls)
    assert len({id(poll.parameters) for poll in polls}) == len({poll.parameters for poll in polls})


def test_a_day_at_thirty_seconds_takes_less_than_nineteen_bytes_a_poll(path):
    size = document.write(path, day_of(count=2880))
    assert size < 19 * 2880


def test_the_code_in_the_documentation_reads_it_and_checks_it(path):
    day = day_of("long", count=50)
    path = path.with_name("2026-11-23.json.xz")
    document.write(path, day)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in blocks[0].splitlines() if line]) == 5
    done = subprocess.run(
        [sys.executable, "-I", "-c", blocks[0] + "\nprint(json.dumps(day))"],
        cwd=path.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    values = json.loads(done.stdout)
    taken = [due + late for due, late in zip(values["due_ms"], values["late_ms"], strict=True)]
    assert taken == [poll.taken_ms for poll in day.polls]
    for letter, group in (("c", "calculations"), ("p", "parameters"), ("s", "visibilities")):
        assert values[group] == [len(poll.block(group)) for poll in day.polls]
        for index in range(len(day.polls[0].block(group))):
            sent = [poll.block(group)[index] for poll in day.polls]
            assert values[f"{letter}{index}"] == sent
    subprocess.run([sys.executable, "-I", "-c", blocks[1]], cwd=path.parent.parent, check=True)
    rewrite(path, text_of(path).replace('"tries":1', '"tries":2'), checksum=False)
    done = subprocess.run(
        [sys.executable, "-I", "-c", blocks[1]],
        cwd=path.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "AssertionError" in done.stderr


def test_a_document_names_the_registers_that_vary_and_the_catalogue_of_all(path):
    day = day_of(count=50)
    document.write(path, day)
    content = json.loads(text_of(path))
    varying = {
        f"c{n}"
        for n, c in enumerate(zip(*[p.calculations for p in day.polls], strict=True))
        if len(set(c)) > 1
    }
    assert {name for name in content["registers"] if name[0] == "c"} == varying
    assert content["registers"]["c10"] == {
        "id": "ID_WEB_Temperatur_TVL",
        "unit": "°C",
        "scale": 10,
    }
    known = json.loads(text_of(path.with_name(content["catalogue"])))
    assert len(known["registers"]) == len(catalogue.catalogue())
    assert known["registers"][10]["german"] == catalogue.register("calculations", 10).german


@pytest.mark.parametrize("damage", [None, b"", b"rubbish"])
def test_a_catalogue_that_is_missing_or_damaged_is_written_again(path, damage):
    document.write(path, day_of(count=2))
    [known] = path.parent.glob("registers-*.json.xz")
    good = known.read_bytes()
    known.unlink() if damage is None else known.write_bytes(damage)
    document.write(path, day_of(count=2))
    assert known.read_bytes() == good


def test_damage_at_any_place_is_noticed(path):
    day = day_of(count=5)
    document.write(path, day)
    good = path.read_bytes()
    rng = random.Random(3)
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(DamagedError):
            document.read(path)
    for length in range(0, len(good), 97):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedError):
            document.read(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(DamagedError, match="something follows its end"):
        document.read(path)


def test_damage_that_xz_does_not_see_is_noticed_by_the_checksum(path):
    document.write(path, day_of(count=50))
    text = text_of(path).replace('"c10":[', '"c10":[1', 1)
    rewrite(path, text, checksum=False)
    with pytest.raises(DamagedError, match="its checksum differs"):
        document.read(path)
    rewrite(path, text)  # by intent
    assert len(document.read(path).polls) == 50


def test_an_archive_of_a_newer_luxcli_is_not_called_damaged(path):
    rewrite(path, '{"format":"luxcli archive","version":4,"whatever":"it holds"}')
    with pytest.raises(StorageError) as failure:
        document.read(path)
    assert not isinstance(failure.value, DamagedError)
    assert str(failure.value) == (
        f"{path}: written by a newer luxcli (archive format 4, this one knows 3); upgrade luxcli"
    )


def test_what_is_no_file_is_refused_in_one_line(path):
    import os

    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(StorageError, match=r"json\.xz: not a regular file; move it away"):
        document.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"json\.xz: "):
        document.read(path)
    with pytest.raises(StorageError, match=r"json\.xz: cannot be read: No such file"):
        document.read(path.with_name("2026-11-20.json.xz"))
    if os.geteuid():
        path.rmdir()
        path.write_bytes(b"")
        path.chmod(0)
        with pytest.raises(StorageError, match=r"cannot be read: Permission denied"):
            document.read(path)


def test_a_day_of_missed_polls_alone_at_the_shortest_interval_is_read(path):
    """Nine thousand of them, on a day of 25 hours, each with a long reason."""
    detail = 'pump.example:8889: calculations: no "answer", in 60 s [Errno 110] {}; ' * 4
    missed = tuple(
        MissedPoll(n * 10_000, "timeout", 4, 254_000, f"{detail}{n}", 12, 10) for n in range(9000)
    )
    document.write(path, Day((), missed))
    assert document.read(path).missed == missed


def test_a_day_that_would_not_be_read_is_not_written_and_not_called_damaged(path):
    day = day_of(count=2)
    document.write(path, day)
    good = path.read_bytes()
    missed = (MissedPoll(0, "timeout", 4, 254_000, "x" * 9_000_000),)
    with pytest.raises(StorageError, match="does not read back as it was written") as failure:
        document.write(path, Day(day.polls, missed))
    assert not isinstance(failure.value, DamagedError)
    assert path.read_bytes() == good


HEAD = (
    '{"format":"luxcli archive","version":3,"luxcli":"0","day":"2026-11-19","start_ms":0,'
    '"stop_ms":1,"polls":2,"catalogue":"","registers":{},"missed":[],"repairs":[],"columns":{'
)
COLUMNS = {
    "due_ms": [1000, 30000],
    "late_ms": 5,
    "took_ms": 9,
    "tries": 1,
    "interval_s": 30,
    "flags": 0,
    "calculations": 2,
    "parameters": 1,
    "visibilities": 1,
    "c0": [5, 1],
    "c1": 7,
    "p0": 3,
    "s0": 1,
}


def written(columns, head=HEAD):
    return f"{head}{json.dumps(columns, separators=(',', ':'))[1:]}}}"


def test_the_smallest_document_is_read(path):
    rewrite(path, written(COLUMNS))
    assert tuple(document.read(path).polls) == (
        Snapshot(1005, 9, 1, (5, 7), (3,), (1,), 5, 30, 0),
        Snapshot(31_005, 9, 1, (6, 7), (3,), (1,), 5, 30, 0),
    )


@pytest.mark.parametrize(
    "columns",
    [
        {"due_ms": [99999999999999999999, 1]},
        {"due_ms": [253402300800000, 1]},
        {"due_ms": [-1000, 1]},
        {"due_ms": 1000},
        {"due_ms": [1000, -1]},
        {"due_ms": [1000]},
        {"due_ms": [1000, 1, 1]},
        {"due_ms": []},
        {"due_ms": [1000, [1]]},
        {"due_ms": [1000, 1.5]},
        {"due_ms": "x"},
        {"due_ms": True},
        {"due_ms": None},
        {"due_ms": {}},
        {"late_ms": [1 << 62, 1 << 62]},
        {"took_ms": 1 << 63},
        {"c0": 1 << 31},
        {"c0": [0, -(1 << 31) - 1]},
        {"c0": [2**31 - 1, 1]},
        {"c2": 5},
        {"q0": 5},
        {"calculations": 3},
        {"calculations": 1},
        {"calculations": -1},
        {"calculations": [2, -3]},
        {"calculations": 10**9},
        {"tries": [1, float("inf")]},
    ],
    ids=str,
)
def test_impossible_columns_are_damage(columns, path):
    rewrite(path, written({**COLUMNS, **columns}))
    with pytest.raises(DamagedError, match="not a readable archive: "):
        document.read(path)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ('"polls":2', '"polls":-1'),
        ('"polls":2', '"polls":99999999999'),
        ('"polls":2', '"polls":0'),
        ('"polls":2', '"polls":true'),
        ('"polls":2', '"polls":2.0'),
        ('"polls":2,', ""),
        ('"missed":[]', '"missed":{}'),
        ('"missed":[]', '"missed":null'),
        ('"missed":[]', '"missed":[5]'),
        ('"missed":[]', '"missed":[{}]'),
        ('"missed":[]', '"missed":[{"ts_ms":1,"reason":2}]'),
        ('"missed":[]', '"missed":[{"ts_ms":"1"}]'),
        (
            '"missed":[]',
            '"missed":[{"ts_ms":1,"reason":"x","tries":1,"took_ms":1,"detail":"","other":1}]',
        ),
        ('"repairs":[]', '"repairs":[{"sha256":5,"old_ms":1,"new_ms":null,"done_ms":1}]'),
        ('"repairs":[]', '"repairs":[{"sha256":"","old_ms":1e300,"new_ms":null,"done_ms":1}]'),
        ('"repairs":[]', '"repairs":[{"sha256":"","old_ms":null,"new_ms":null,"done_ms":1}]'),
        ('"start_ms":0', '"start_ms":"0"'),
        ('"columns":{', '"columns":['),
        ('"columns":{', '"colums":{'),
        ('"columns":{', '"columns":{,'),
        ('"columns":{', '"columns":{}'),
        ('"columns":{', '"columns":{"tries":1}'),
        ('"c1":7', '"c1":'),
        ('"c0":[5,1]', '"c0":[5,]'),
        ('"c0":[5,1]', '"c0":[,]'),
        ('"c0":[5,1]', '"c0":[5,-]'),
        ("luxcli archive", "LUXCLI archive"),
        ('"version":3', '"version":2'),
        ('"version":3', '"version":"3"'),
        ("{", ""),
        ("2026", "ä"),
    ],
)
def test_a_document_of_another_shape_is_damage(there, instead, path):
    text = written(COLUMNS).replace(there, instead, 1)
    assert text != written(COLUMNS)
    rewrite(path, text)
    with pytest.raises(DamagedError, match=r"json\.xz: not a readable archive: ") as failure:
        document.read(path)
    assert "\n" not in str(failure.value)


COSTS = """
import re, sys, time
from pathlib import Path
from luxcli.errors import DamagedError
from luxcli.maintenance import document

def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

began, total = time.process_time(), 0
for number in range(1_000_000):
    total += number
million = time.process_time() - began
base, began = peak_kb(), time.process_time()
try:
    found = f"{sum(1 for poll in document.read(Path(sys.argv[1])).polls)} polls"
except DamagedError as exc:
    found = str(exc)
print(peak_kb() - base, (time.process_time() - began) / million, found)
"""


def hostile():
    """Yield documents that are as large as possible in one way each."""
    many = 9_900_000
    yield "zeros", "\0" * 60_000_000
    yield "a beginning and zeros", HEAD + " " * 60_000_000
    yield "nested lists", HEAD.replace('"missed":[]', '"missed":' + "[" * 49_000)
    yield "nested objects", HEAD.replace('"missed":[]', '"missed":' + '{"a":' * 49_000)
    yield "many lists", HEAD.replace("[]", f"[{'[],' * 49_000}[]]", 1)
    yield "many objects", HEAD.replace("[]", f"[{'{},' * 49_000}{{}}]", 1)
    yield "many numbers", HEAD.replace("[]", f"[{'300,' * 499_000}3]", 1)
    yield "more numbers", HEAD.replace("[]", f"[{'300,' * 1_990_000}3]", 1)
    yield "a long text", HEAD.replace("[]", f'["{"x" * 7_900_000}"]', 1)
    yield "many texts", HEAD.replace("[]", "[" + '"ab",' * 200_000 + '"ab"]', 1)
    keys = ",".join(f'"{n:x}":1' for n in range(200_000))
    mixed = ",".join(f'{{"{n:x}":[1{n},"{n:x}x"]}}' for n in range(48_000))
    more = ",".join(f'"{n:x}z",1{n}' for n in range(150_000))
    yield "all of it", HEAD.replace("[]", f"[{mixed},{more}]", 1)
    yield "many names", HEAD.replace('"registers":{}', f'"registers":{{{keys}}}')
    yield "a long number", HEAD.replace('"polls":2', f'"polls":{"9" * 3_900_000}')
    columns = ",".join(f'"c{n}":1' for n in range(100_000))
    yield "many columns", f"{HEAD}{columns}}}}}"
    yield "a long column", written({"c0": 0}).replace("0}", f"[{'300,' * (many // 4)}1]}}")
    yield "a long number in a column", written({"c0": 0}).replace("0}", f"[{'9' * many}]}}")
    head = HEAD.replace('"polls":2', '"polls":100000')
    times = {**COLUMNS, "due_ms": [1, *[1] * 99_999], "c0": 1}
    wide = {f"p{n}": 1 for n in range(1, 10_000)} | {"parameters": 10_000}
    yield "many polls of many settings", written({**times, **wide, "p0": [0, *[1] * 99_999]}, head)
    lengths = [1, *[1, -1] * 49_999, 1]
    yield "lengths", written({**times, **wide, "parameters": [*lengths[:-1], 9_999]}, head)
    head = HEAD.replace('"polls":2', '"polls":2000')
    times = {**COLUMNS, "due_ms": [1, *[1] * 1_999], "c0": 1}
    yield "fewer of many settings", written({**times, **wide, "p0": [0, *[1] * 1_999]}, head)
    lengths = [1, *[9_999, -9_999] * 999, 9_999]
    yield "fewer lengths", written({**times, **wide, "parameters": lengths}, head)
    head = HEAD.replace('"polls":2', '"polls":100000')
    times = {**COLUMNS, "due_ms": [1, *[1] * 99_999], "c0": 1}
    large = [2**31 - 1, *[-(2**32 - 1), 2**32 - 1] * 49_999, 0]
    full = {f"c{n}": large for n in range(1, 9)} | {"calculations": 9}
    yield "large numbers", written({**times, **full}, head)
    small = {f"c{n}": [0, *[1, -1] * 49_999, 0] for n in range(1, 39)} | {"calculations": 39}
    yield "small numbers", written({**times, **small}, head)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hostile_file_costs_64_mb_and_what_twenty_million_additions_cost(cli, path):
    """A second of today's machines; measuring the coverage of the process would double it."""
    environment = Cli(cli.directory, measured=False).environment()
    worst = {}
    for name, text in hostile():
        rewrite(path, text)
        done = subprocess.run(
            [sys.executable, "-c", COSTS, str(path)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        kilobytes, millions, found = done.stdout.split(" ", 2)
        worst[name] = (int(kilobytes) // 1024, float(millions), found.strip()[-60:])
        assert "sys." not in found
    print(*worst.items(), sep="\n")
    assert [entry for entry in worst.items() if entry[1][0] > 64 or entry[1][1] > 20] == []
