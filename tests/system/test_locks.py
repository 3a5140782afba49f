"""Locks between real processes: who waits, who is named, and what a crash leaves behind."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luxcli import times
from luxcli.errors import LockHeldError, StorageError
from luxcli.system import locks
from tests.support.builders import python

HOLDER = """
import sys
from pathlib import Path
from luxcli.system import locks
with locks.hold(Path(sys.argv[1]), wait_s=float(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


class Holder:
    """Another process that holds the lock until it is asked to release the lock."""

    def __init__(self, path: Path, wait_s: float = 0) -> None:
        self.process = python(HOLDER, path, wait_s, stdin=-1)
        self.pid = self.process.pid

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def holding(path: Path, wait_s: float = 0) -> Iterator[Holder]:
    other = Holder(path, wait_s)
    with other.process:
        try:
            assert other.says() == "held"
            yield other
        finally:
            other.process.kill()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.lock"


def test_a_held_lock_is_refused_at_once_without_waiting_time(path):
    with holding(path):
        started = time.monotonic()
        with pytest.raises(LockHeldError), locks.hold(path, wait_s=0):
            pytest.fail("two processes hold one lock")
        assert time.monotonic() - started < 0.2


def test_whoever_waits_in_vain_waits_as_long_as_told_and_learns_the_holder(path):
    with holding(path) as other:
        started = time.monotonic()
        with (
            pytest.raises(LockHeldError, match=rf"held by pid {other.pid} since \d{{4}}-") as error,
            locks.hold(path, wait_s=0.2),
        ):
            pytest.fail("two processes hold one lock")
        assert 0.2 <= time.monotonic() - started < 0.6
    assert str(path) in str(error.value)
    assert error.value.exit_code == 75


def test_whoever_waits_gets_the_lock_when_it_is_let_go(path):
    with holding(path) as other:
        other.let_go()
        with locks.hold(path, wait_s=5):
            assert other.says() == "released"


def test_a_second_process_waits_for_the_first_and_is_then_named_itself(path):
    with locks.hold(path, wait_s=0):
        waiting = Holder(path, 5)
        assert locks.holder(path).pid == os.getpid()
    with waiting.process:
        assert waiting.says() == "held"
        assert locks.holder(path).pid == waiting.pid
        waiting.let_go()
        assert waiting.says() == "released"


def test_a_killed_holder_leaves_the_lock_free(path):
    with holding(path) as other:
        other.kill()
        assert locks.holder(path) is None
        with locks.hold(path, wait_s=0):
            assert locks.holder(path).pid == os.getpid()


def test_a_waiter_neither_empties_nor_replaces_the_file(path):
    with holding(path) as other:
        before = path.read_bytes(), path.stat().st_ino
        with pytest.raises(LockHeldError), locks.hold(path, wait_s=0.1):
            pass
        assert (path.read_bytes(), path.stat().st_ino) == before
        assert locks.holder(path).pid == other.pid


def test_the_file_stays_when_the_lock_is_let_go(path):
    with locks.hold(path, wait_s=0):
        inode = path.stat().st_ino
    assert path.stat().st_ino == inode
    with locks.hold(path, wait_s=0):
        assert path.stat().st_ino == inode


def test_nothing_is_written_to_the_disk_for_a_lock(path):
    path.write_text("pid 123 since 2020-01-01T00:00:00Z\n")  # older versions left notes
    before = path.stat()
    with locks.hold(path, wait_s=0):
        assert locks.holder(path).pid == os.getpid()
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_the_time_of_the_holder_is_in_utc(path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        with holding(path):
            holder = locks.holder(path)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert abs(time.time() - holder.since_ms / 1000) < 5
    assert holder.describe() == f"pid {holder.pid} since {times.utc_text(holder.since_ms)}"


def test_a_holder_that_the_kernel_does_not_name_is_another_process():
    assert locks.Holder().describe() == "another process"


def test_the_lock_is_let_go_when_the_block_fails(path):
    with pytest.raises(ZeroDivisionError), locks.hold(path, wait_s=0):
        raise ZeroDivisionError
    with locks.hold(path, wait_s=0):
        pass


def test_a_process_excludes_itself_too(path):
    with (
        locks.hold(path, wait_s=0),
        pytest.raises(LockHeldError, match=f"held by pid {os.getpid()} "),
        locks.hold(path, wait_s=0),
    ):
        pytest.fail("the lock was taken twice")


def test_a_child_process_does_not_inherit_the_lock(path):
    with locks.hold(path, wait_s=0):
        child = python("print('started', flush=True); input()", stdin=-1, close_fds=False)
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
    with child:
        with locks.hold(path, wait_s=0):
            pass
        child.kill()


def test_a_free_or_missing_lock_has_no_holder_and_asking_creates_nothing(path):
    assert locks.holder(path) is None
    assert not path.exists()
    with locks.hold(path, wait_s=0):
        pass
    assert locks.holder(path) is None


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_a_lock_file_that_cannot_be_made_is_a_storage_error_with_its_path(tmp_path, parent):
    (tmp_path / "file").write_text("")
    path = tmp_path / parent / "x.lock"
    with pytest.raises(StorageError, match="lock file") as error, locks.hold(path, wait_s=0):
        pass
    assert str(path) in str(error.value)
    assert locks.holder(path) is None


def test_a_lock_file_in_the_directory_of_somebody_else_names_whose_it_is():
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    code = (
        "import os, sys; from pathlib import Path; from luxcli import errors\n"
        "from luxcli.system import locks\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "try:\n    locks.hold(Path(sys.argv[1]) / 'x.lock', wait_s=0).__enter__()\n"
        "except errors.StorageError as exc: print(exc)"
    )
    with tempfile.TemporaryDirectory() as name:  # which others may enter, unlike pytest's
        os.chown(name, 4711, 815)
        os.chmod(name, 0o755)
        process = python(code, name)
        said = process.communicate()[0]
    assert said == (
        f"{name}/x.lock: the lock file cannot be opened for uid 12345: Permission denied;"
        f" {name} belongs to uid 4711\n"
    )


def test_others_cannot_write_to_the_lock_file(path):
    with locks.hold(path, wait_s=0):
        assert path.stat().st_mode & 0o137 == 0


def test_twenty_increments_by_four_processes_at_once_are_all_counted(path, tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = """
import sys, time
from pathlib import Path
from luxcli.system import locks
for _ in range(20):
    with locks.hold(Path(sys.argv[1]), wait_s=9):
        value = int(Path(sys.argv[2]).read_text())
        time.sleep(0.0005)
        Path(sys.argv[2]).write_text(str(value + 1))
"""
    processes = [python(code, path, counter) for _ in range(4)]
    for process in processes:
        with process:
            assert process.wait() == 0
    assert counter.read_text() == "80"


def test_of_two_files_with_one_inode_number_the_one_on_the_same_device_is_meant():
    two = (
        "1: FLOCK  ADVISORY  WRITE 111 00:1f:42 0 EOF\n"
        "1: -> FLOCK  ADVISORY  WRITE 999 08:01:42 0 EOF\n"
        "2: POSIX  ADVISORY  WRITE 333 08:01:42 0 EOF\n"
        "3: FLOCK  ADVISORY  WRITE 222 08:01:42 0 EOF\n"
    )
    assert locks.find_pid(two, os.makedev(8, 1), 42) == 222
    assert locks.find_pid(two, os.makedev(0, 0x99), 42) is None
    assert locks.find_pid(two.splitlines()[0], os.makedev(0, 0x99), 42) == 111
    assert locks.find_pid(two, os.makedev(8, 1), 7) is None
