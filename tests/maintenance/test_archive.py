"""The daily archive: lossless, verified, readable without luxcli, never losing what it has."""

import gzip
import json
import random
import re
import sqlite3
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date
from pathlib import Path

import pytest

from luxcli.errors import DamagedError, StorageError
from luxcli.maintenance import archive, luxlog, prune, rebuild
from luxcli.maintenance.luxlog import Day
from luxcli.model import MissedPoll, Snapshot
from luxcli.simulator.replay import Replay
from luxcli.store.store import Store
from tests.support.scenario import BERLIN, configured, ms, record

DOCS = Path(__file__).parent.parent.parent / "docs" / "data.md"


def day_of(profile="msw6", count=100, step_s=30):
    replay = Replay(profile)
    start = ms("2026-11-19T00:00") / 1000
    polls = tuple(replay.at(start + n * step_s) for n in range(count))
    missed = (MissedPoll(ms("2026-11-19T03:00"), "timeout", 4, 254_000, 'said "no" äöü\nand left'),)
    return Day(polls, missed)


@pytest.mark.parametrize("profile", ["msw6", "long"])
def test_a_day_reads_back_exactly_as_it_was(tmp_path, profile):
    day = day_of(profile)
    path = tmp_path / "a" / "2026-11-19.luxlog.gz"
    luxlog.write(path, day)
    assert luxlog.read(path) == day


def test_registers_that_come_and_go_within_a_day_differ_from_zero(tmp_path):
    short, long = Replay("msw6"), Replay("long")
    times = [ms("2026-11-19T00:00") / 1000 + n * 600 for n in range(9)]
    polls = tuple((long if n in (2, 3, 7) else short).at(t) for n, t in enumerate(times))
    luxlog.write(tmp_path / "x.gz", Day(polls, ()))
    assert luxlog.read(tmp_path / "x.gz").polls == polls


def test_archives_of_the_first_version_are_read(tmp_path):
    polls = (
        Snapshot(1000, 9, 1, (5, 7), (3,), (1,)),
        Snapshot(31_000, 8, 2, (6, 7, 4), (3,), (1,)),
    )
    text, crc = json.dumps(((3,), (1,))), 0
    for poll, settings in zip(polls, (text, text), strict=True):
        head = (poll.taken_ms, poll.took_ms, poll.tries, poll.calculations)
        crc = zlib.crc32(f"{json.dumps(head)}{settings}".encode(), crc)
    lines = [
        *("luxlog 1", "polls 2", "t 1000 30000", "d 9 -1", "n 1 1"),
        *("c0 5 1", "c1 7", "c2 - 4", "p0 3", "s0 1"),
        *('m 2000 busy 0 5 "in use"', f"crc {crc:08x}", "end", ""),
    ]
    (tmp_path / "x.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    missed = (MissedPoll(2000, "busy", 0, 5, "in use"),)
    assert luxlog.read(tmp_path / "x.gz") == Day(polls, missed)


def test_random_blocks_of_random_lengths_survive(tmp_path):
    rng = random.Random(7)
    polls = []
    for n in range(60):
        blocks = [
            tuple(
                rng.choice([0, 1, -1, 2**31 - 1, -(2**31), rng.randint(-999, 999)])
                for _ in range(rng.randint(1, 12))
            )
            for _ in range(3)
        ]
        polls.append(Snapshot(n * 1000, rng.randint(0, 500), rng.randint(1, 4), *blocks))
    luxlog.write(tmp_path / "x.gz", Day(tuple(polls), ()))
    assert luxlog.read(tmp_path / "x.gz").polls == tuple(polls)


def test_an_empty_day_and_a_single_poll_are_fine(tmp_path):
    for day in (Day((), ()), day_of(count=1)):
        luxlog.write(tmp_path / "x.gz", day)
        assert luxlog.read(tmp_path / "x.gz") == day


def test_the_same_day_gives_the_same_bytes(tmp_path):
    luxlog.write(tmp_path / "x.gz", day_of())
    luxlog.write(tmp_path / "y.gz", day_of())
    assert (tmp_path / "x.gz").read_bytes() == (tmp_path / "y.gz").read_bytes()


def test_a_day_at_thirty_seconds_takes_less_than_twenty_bytes_a_poll(tmp_path):
    size = luxlog.write(tmp_path / "x.gz", day_of(count=2880))
    assert size < 20 * 2880


def test_the_reader_in_the_documentation_reads_it(tmp_path):
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    scope: dict = {}
    exec(code, scope)
    day = day_of("long", count=50)
    luxlog.write(tmp_path / "x.gz", day)
    registers = scope["read_luxlog"](tmp_path / "x.gz")
    assert registers["t"] == [poll.taken_ms for poll in day.polls]
    for letter, group in (("c", "calculations"), ("p", "parameters"), ("s", "visibilities")):
        for index in range(len(day.polls[0].block(group))):
            values = registers[f"{letter}{index}"]
            sent = [poll.block(group)[index] for poll in day.polls]
            assert values == sent or (len(values) == 1 and values * 50 == sent)


def test_damage_at_any_place_is_noticed(tmp_path):
    path = tmp_path / "x.gz"
    day = day_of(count=5)
    luxlog.write(path, day)
    good = path.read_bytes()
    rng = random.Random(3)
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            same = luxlog.read(path) == day  # a bit of the gzip header that nobody needs
        except StorageError:
            same = True
        assert same
    for length in range(0, len(good), 97):
        path.write_bytes(good[:length])
        with pytest.raises(StorageError):
            luxlog.read(path)


def test_damage_that_gzip_does_not_see_is_noticed_by_the_checksum(tmp_path):
    path = tmp_path / "x.gz"
    luxlog.write(path, day_of(count=5))
    text = gzip.decompress(path.read_bytes()).replace(b"\nc21 ", b"\nc21 1", 1)
    path.write_bytes(gzip.compress(text))
    with pytest.raises(StorageError, match="checksum differs"):
        luxlog.read(path)


@pytest.mark.parametrize("line", [b"i 0 ", b"e 0 "])
def test_a_poll_whose_time_is_missing_is_damage(tmp_path, line):
    path = tmp_path / "x.gz"
    polls = tuple(Snapshot(n * 30_000 + n % 2, 9, 1, (n,), (3,), (1,)) for n in range(4))
    luxlog.write(path, Day(polls, ()))
    text = gzip.decompress(path.read_bytes())
    assert text.count(b"\n" + line) == 1
    path.write_bytes(gzip.compress(text.replace(b"\n" + line, b"\n" + line[:2] + b"_ ")))
    with pytest.raises(DamagedError, match="a poll without a time"):
        luxlog.read(path)


def archived(settings, now="2026-11-20T12:00"):
    return archive.archive_due(settings, now_ms=ms(now), zone=BERLIN)


def test_each_closed_local_day_gets_one_archive_and_only_once(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-17T20:00"), ms("2026-11-20T11:00"), step_s=3600)
    assert [entry.path.name for entry in archived(settings)] == [
        "2026-11-17.luxlog.gz",
        "2026-11-18.luxlog.gz",
        "2026-11-19.luxlog.gz",
    ]
    assert [entry.polls for entry in archived(settings, "2026-11-21T01:00")] == [11]
    assert archived(settings, "2026-11-21T02:00") == []


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_with_a_clock_change_is_one_archive_of_its_real_length(tmp_path, day, hours):
    settings = configured(tmp_path)
    start, stop = archive.bounds(date.fromisoformat(day), BERLIN)
    record(settings, start - 3_600_000, stop + 3_600_000, step_s=1800)
    entries = archive.archive_due(settings, now_ms=stop + 3_600_000, zone=BERLIN)
    assert {e.path.name: e.polls for e in entries}[f"{day}.luxlog.gz"] == hours * 2


def test_polls_that_come_later_are_added_to_the_archive(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    archived(settings)
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    [entry] = archived(settings)
    assert entry.polls == 18


def test_a_poll_that_comes_later_is_added_after_a_change_of_the_time_zone_and_back(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    archived(settings)
    archive.archive_due(settings, now_ms=ms("2026-11-20T12:00"), zone=UTC)
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T14:01"))
    [entry] = archived(settings)
    assert entry.polls == 13


def test_polls_that_the_database_lost_stay_in_the_archive(tmp_path):
    settings = configured(tmp_path)
    times = record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    archived(settings)
    settings.cache_path.unlink()
    times += record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    [entry] = archived(settings)
    assert [poll.taken_ms for poll in luxlog.read(entry.path).polls] == times


def test_an_archive_that_cannot_be_read_is_quarantined_and_written_again(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    [entry] = archived(settings)
    entry.path.write_bytes(b"rubbish")
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    [again] = archived(settings)
    assert again.polls == 18
    assert entry.path.with_name(entry.path.name + ".damaged").read_bytes() == b"rubbish"


def test_an_archive_that_the_disk_cannot_read_is_not_treated_as_damaged(tmp_path):
    """Linux gives EIO, as a failing card does, to whoever reads address 0 of a process."""
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    [entry] = archived(settings)
    good = entry.path.read_bytes()
    entry.path.unlink()
    entry.path.symlink_to("/proc/self/mem")
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T11:00"))
    record(settings, ms("2026-11-19T14:00"), ms("2026-11-19T15:00"))
    with pytest.raises(StorageError, match=r"2026-11-19\.luxlog\.gz: cannot be read: Input/output"):
        archived(settings)
    assert sorted(path.name for path in entry.path.parent.iterdir()) == [
        "2026-11-18.luxlog.gz",
        "2026-11-19.luxlog.gz",
    ]
    entry.path.unlink()
    entry.path.write_bytes(good)
    assert [again.polls for again in archived(settings)] == [18]


def test_an_archive_of_a_newer_luxcli_is_kept_and_stops_no_other_day(tmp_path):
    settings = configured(tmp_path)
    path = archive.path_of(settings, date(2026, 11, 18))
    path.parent.mkdir(parents=True)
    newer = gzip.compress(b"luxlog 3\nwhatever it may hold\n")
    path.write_bytes(newer)
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T12:00"))
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    with pytest.raises(StorageError, match=r"2026-11-18.*newer luxcli \(luxlog 3.*upgrade"):
        archived(settings)
    assert path.read_bytes() == newer
    assert archive.path_of(settings, date(2026, 11, 19)).exists()
    assert [other.name for other in path.parent.iterdir() if "damaged" in other.name] == []


def test_no_archive_is_written_when_none_is_wanted(tmp_path):
    settings = configured(tmp_path, archive=False)
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T12:00"))
    assert archived(settings) == []
    assert not (tmp_path / "archive").exists()


def test_missed_polls_are_archived_with_their_reasons(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T11:00"))
    missed = MissedPoll(
        ms("2026-11-19T10:05"), "refused", 4, 14_000, "1.2.3.4:8889: connection refused"
    )
    Store(settings.cache_path).add_missed(missed)
    [entry] = archived(settings)
    assert luxlog.read(entry.path).missed == (missed,)


def run_prune(settings, **options):
    return prune.prune(settings, now_ms=ms("2026-11-20T12:00"), zone=BERLIN, **options)


def ten_days(directory):
    settings = configured(directory)
    record(settings, ms("2026-11-11T00:00"), ms("2026-11-20T11:00"), step_s=3600)
    Store(settings.cache_path).flush()


@pytest.fixture
def old(tmp_path, built):
    """Ten days, of which all but three are to go."""
    built(ten_days, tmp_path)
    return configured(tmp_path, cache_retention_days=3, disk_usage_limit_percent=100)


def test_prune_keeps_days_that_are_in_no_archive(old):
    result = run_prune(old)
    assert result.polls == 0
    assert "2026-11-11: no archive" in result.findings[0]
    assert Store(old.cache_path).database.span()[0] == ms("2026-11-11T00:00")


def test_prune_removes_archived_days_and_stops_at_the_first_that_is_not_safe(old):
    archived(old)
    archive.path_of(old, date(2026, 11, 14)).write_bytes(b"rubbish")
    result = run_prune(old)
    assert result.polls == 3 * 24
    assert re.search("2026-11-14: .*not a readable archive: .*'luxcli rollup", result.findings[0])
    assert Store(old.cache_path).database.span()[0] == ms("2026-11-14T00:00")


def test_prune_keeps_a_day_whose_archive_lacks_a_poll(old):
    archived(old)
    record(old, ms("2026-11-12T00:30"), ms("2026-11-12T00:31"))
    result = run_prune(old)
    assert result.polls == 24
    assert (
        "2026-11-12: entries are missing from the archive; run 'luxcli rollup" in result.findings[0]
    )


def test_prune_removes_unarchived_days_with_the_option(old):
    result = run_prune(old, unarchived=True)
    assert result.polls == 6 * 24
    assert result.findings == ()
    assert Store(old.cache_path).database.span()[0] == ms("2026-11-17T00:00")


def test_an_archive_that_is_lost_or_cut_short_is_written_again(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-17T00:00"), ms("2026-11-20T00:00"), step_s=3600)
    first, second, third = [entry.path for entry in archived(settings)]
    good = [path.read_bytes() for path in (first, second, third)]
    first.unlink()
    second.write_bytes(good[1][:100])
    third.write_bytes(b"")
    archived(settings)
    assert [path.read_bytes() for path in (first, second, third)] == good


def test_an_archive_that_prune_cannot_read_is_written_again_by_the_next_run(old):
    archived(old)
    path = archive.path_of(old, date(2026, 11, 14))
    good = path.read_bytes()
    middle = len(good) // 2
    path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    assert "2026-11-14.luxlog.gz: not a readable archive" in run_prune(old).findings[0]
    archived(old)
    assert path.read_bytes() == good
    assert run_prune(old).findings == ()


def test_a_day_of_missed_polls_alone_is_archived_too(tmp_path):
    settings = configured(tmp_path, cache_retention_days=1, disk_usage_limit_percent=100)
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-20T11:00"), step_s=3600)
    missed = MissedPoll(ms("2026-11-17T10:05"), "refused", 4, 14_000, "connection refused")
    store = Store(settings.cache_path)
    store.add_missed(missed)
    assert "2026-11-17: no archive" in run_prune(settings).findings[0]
    assert store.database.missed(0, ms("2026-11-20T12:00")) == [missed]
    [entry, *_] = archived(settings)
    assert luxlog.read(entry.path).missed == (missed,)
    assert run_prune(settings).findings == ()


def test_one_poll_of_1970_does_not_make_a_run_step_through_all_days_since(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("1970-01-02T10:00"), ms("1970-01-02T11:00"))
    record(settings, ms("2026-11-18T10:00"), ms("2026-11-18T11:00"))
    began = time.monotonic()
    assert [entry.path.name[:10] for entry in archived(settings)] == ["1970-01-02", "2026-11-18"]
    assert time.monotonic() - began < 3


def test_two_runs_at_once_write_each_archive_once_and_whole(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-10T00:00"), ms("2026-11-20T00:00"), step_s=3600)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(archived, settings) for _ in range(2)]
        written = sorted(len(run.result()) for run in both)
    assert written == [0, 10]
    assert len([luxlog.read(path) for path in (tmp_path / "archive").iterdir()]) == 10


@pytest.mark.parametrize(
    "lines",
    [
        "luxlog 1\npolls 1\nt 99999999999999999999 1\n",
        "luxlog 1\npolls 1\nt 99999999999999999999\nd 1\nn 1\ncrc 0\nend\n",
        "luxlog 1\npolls 99999999999\nt 1\nd 1\nn 1\ncrc 0\nend\n",
        "luxlog 1\npolls -1\ncrc 0\nend\n",
        "luxlog 1\npolls 1\nc0 1\nq0 1\nend\n",
        "luxlog 2\npolls 2\nt 99999999999999999999 30000\ni 0 a\ne 0\nd 1\nn 1\ncrc 0\nend\n",
        "luxlog 2\npolls 2\nt 1 30000\ni 0 a\ne 0\nd 1\nn 1\nc0 1 a+99999999999999999999\nend\n",
        "luxlog 2\npolls 2\nt 1 30000\ni 0 aaa\ne 0\nd 1\nn 1\ncrc 0\nend\n",
        "luxlog 2\npolls 2\nt 1 30000\ni 0 a\ne 0\nd 1\ncrc 0\nend\n",
        "luxlog 2\npolls 2\nt 1 30000\ni 0 a\ne 0\nd 1\nn 1\nc0 =c1\ncrc 0\nend\n",
    ],
)
def test_impossible_numbers_are_damage(lines, tmp_path):
    path = tmp_path / "2026-11-19.luxlog.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    with pytest.raises(DamagedError, match="not a readable archive"):
        luxlog.read(path)


def test_damaged_polls_that_stop_prune_are_reported_with_advice(old):
    archived(old)
    with closing(sqlite3.connect(old.cache_path)) as db, db:
        db.execute("UPDATE poll SET crc=crc+1 WHERE ts_ms=?", (ms("2026-11-12T05:00"),))
    archive.path_of(old, date(2026, 11, 12)).unlink()
    [entry] = archived(old)
    assert entry.findings == ("2026-11-12: 1 polls are damaged in the database and not archived",)
    [finding] = run_prune(old).findings
    assert "1 polls are damaged in the database; run 'luxcli restore'" in finding
    rebuild.restore(old, now_ms=ms("2026-11-20T00:00"), zone=BERLIN)
    assert run_prune(old).findings == ()


def test_a_damaged_archive_is_a_finding(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-19T10:00"), ms("2026-11-19T12:00"))
    [entry] = archived(settings)
    entry.path.write_bytes(b"rubbish")
    [again] = archived(settings)
    [finding] = again.findings
    assert "not a readable archive" in finding
    assert "quarantined as 2026-11-19.luxlog.gz.damaged" in finding


def test_archiving_reports_its_progress(tmp_path):
    settings = configured(tmp_path)
    record(settings, ms("2026-11-16T00:00"), ms("2026-11-20T00:00"), step_s=3600)
    reported = []
    archive.archive_due(
        settings,
        now_ms=ms("2026-11-20T12:00"),
        zone=BERLIN,
        progress=lambda done, total: reported.append((done, total)),
    )
    assert len(reported) == 4
    assert reported == sorted(reported)
    assert all(0 <= done < total for done, total in reported)
