"""Kills luxcli at any of its file operations, and records them: the harness of `test_kill`.

A small library, compiled when the tests run and preloaded into worker processes, stands between
luxcli (Python and SQLite alike) and the C library. In a child that a worker forks for a command it
counts every call that changes a file below one directory: write, pwrite, fsync, fdatasync, rename,
ftruncate, truncate, unlink, mkdir, and open where it creates or empties a file. It can

* end the process by SIGKILL at the Nth of them: ``before`` the call, or after ``half`` of the
  bytes of a write are in the file (a kill between two pages of a long write does that);
* note each with its data, for `power_loss`;
* shift the clock, so that days end when a test wants them to, or stop it.

A worker has imported luxcli already, which a new process would need most of its time for; the
child it forks runs `luxcli.__main__.main` with arguments, environment, output and working
directory of its own. fsync is left out where nothing is recorded: it means nothing to a kill.
"""

import csv
import ctypes
import functools
import gc
import hashlib
import io
import logging
import os
import pickle
import queue
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import luxcli
from luxcli.config import sources
from luxcli.errors import FINDINGS, StorageError
from luxcli.maintenance import document
from luxcli.model import Snapshot
from luxcli.store.store import Store

PROJECT = Path(luxcli.__file__).parent.parent
KILLED = -9
_WORKERS = 2

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char base[PATH_MAX];
static size_t base_length;
static long calls, kill_at, half, sync_really = 1, clock_shift_s;
static int notes = -1, frozen;
static struct timespec stopped[16];

#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)

static ssize_t plain_write(int fd, const void *data, size_t size) {
    NEXT(write);
    return next(fd, data, size);
}

void fault_arm(const char *directory, long nth, int torn, const char *log, int sync, long shift,
               int stop_clocks) {
    calls = 0; kill_at = nth; half = torn;
    sync_really = sync; clock_shift_s = shift; frozen = stop_clocks;
    notes = log[0] ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    snprintf(base, sizeof base, "%s/", directory);
    base_length = strlen(base);
}

static int within(const char *path) {
    return base_length && !strncmp(path, base, base_length);
}

static int place(int fd, char *path) {
    char link[64];
    if (!base_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return within(path) || (n == (ssize_t)base_length - 1 && !strncmp(path, base, n));
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* One more call; returns 1 when it shall be done by half before the end. */
static int count(int is_write) {
    calls++;
    if (calls != kill_at) return 0;
    if (!half || !is_write) die();
    return 1;
}

struct head { char kind; char pad[7]; unsigned long long inode; long long offset, size, one, two; };

static void note(char kind, unsigned long long inode, long long offset, const char *one,
                 const char *two, const void *data, long long size, int has_data) {
    if (notes < 0) return;
    int saved = errno;
    struct head h = {kind, "", inode, offset, size, strlen(one), strlen(two)};
    struct iovec parts[4] = {{&h, sizeof h}, {(void *)one, strlen(one)},
                             {(void *)two, strlen(two)}, {(void *)data, has_data ? size : 0}};
    if (writev(notes, parts, 4) < 0) die();
    errno = saved;
}

static unsigned long long inode_of(int fd) {
    struct stat s;
    return fstat(fd, &s) ? 0 : s.st_ino;
}

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_MAX];
    if (!place(fd, path)) return plain_write(fd, data, size);
    if (count(1)) { plain_write(fd, data, size / 2); die(); }
    struct stat s;
    fstat(fd, &s);
    off_t offset = fcntl(fd, F_GETFL) & O_APPEND ? s.st_size : lseek(fd, 0, SEEK_CUR);
    ssize_t done = plain_write(fd, data, size);
    if (done > 0) note('w', s.st_ino, offset, path, "", data, done, 1);
    return done;
}

#define PWRITE(name, type) \
ssize_t name(int fd, const void *data, size_t size, type offset) { \
    NEXT(name); \
    char path[PATH_MAX]; \
    if (!place(fd, path)) return next(fd, data, size, offset); \
    if (count(1)) { next(fd, data, size / 2, offset); die(); } \
    ssize_t done = next(fd, data, size, offset); \
    if (done > 0) note('w', inode_of(fd), offset, path, "", data, done, 1); \
    return done; \
}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name) \
int name(int fd) { \
    NEXT(name); \
    char path[PATH_MAX]; \
    if (!place(fd, path)) return next(fd); \
    count(0); \
    int done = sync_really ? next(fd) : 0; \
    if (!done) note('s', inode_of(fd), 0, path, "", "", 0, 0); \
    return done; \
}
SYNC(fsync)
SYNC(fdatasync)

#define FTRUNCATE(name, type) \
int name(int fd, type size) { \
    NEXT(name); \
    char path[PATH_MAX]; \
    if (!place(fd, path)) return next(fd, size); \
    count(0); \
    int done = next(fd, size); \
    if (!done) note('t', inode_of(fd), 0, path, "", "", size, 0); \
    return done; \
}
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define TRUNCATE(name, type) \
int name(const char *path, type size) { \
    NEXT(name); \
    if (!within(path)) return next(path, size); \
    count(0); \
    struct stat s; \
    int known = stat(path, &s), done = next(path, size); \
    if (!done && !known) note('t', s.st_ino, 0, path, "", "", size, 0); \
    return done; \
}
TRUNCATE(truncate, off_t)
TRUNCATE(truncate64, off64_t)

static int renamed(const char *old, const char *new, int done) {
    if (!done) note('r', 0, 0, old, new, "", 0, 0);
    return done;
}

int rename(const char *old, const char *new) {
    NEXT(rename);
    if (!within(new)) return next(old, new);
    count(0);
    return renamed(old, new, next(old, new));
}

int renameat(int from, const char *old, int to, const char *new) {
    NEXT(renameat);
    if (!within(new)) return next(from, old, to, new);
    count(0);
    return renamed(old, new, next(from, old, to, new));
}

int unlink(const char *path) {
    NEXT(unlink);
    if (!within(path) || access(path, F_OK)) return next(path);
    count(0);
    int done = next(path);
    if (!done) note('u', 0, 0, path, "", "", 0, 0);
    return done;
}

int unlinkat(int fd, const char *path, int flags) {
    NEXT(unlinkat);
    if (!within(path) || access(path, F_OK)) return next(fd, path, flags);
    count(0);
    int done = next(fd, path, flags);
    if (!done) note('u', 0, 0, path, "", "", 0, 0);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    if (!within(path) || !access(path, F_OK)) return next(path, mode);
    count(0);
    int done = next(path, mode);
    if (!done) note('m', 0, 0, path, "", "", 0, 0);
    return done;
}

static int opened(int fd, const char *path, int flags, int is_new) {
    if (fd >= 0 && is_new) note('c', inode_of(fd), 0, path, "", "", 0, 0);
    else if (fd >= 0 && flags & O_TRUNC) note('t', inode_of(fd), 0, path, "", "", 0, 0);
    return fd;
}

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    NEXT(name); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest); \
    int is_new = within(path) && flags & O_CREAT && access(path, F_OK); \
    if (is_new || (within(path) && flags & O_TRUNC)) count(0); \
    else return next(path, flags, mode); \
    return opened(next(path, flags, mode), path, flags, is_new); \
}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
int name(int at, const char *path, int flags, ...) { \
    NEXT(name); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest); \
    int is_new = within(path) && flags & O_CREAT && access(path, F_OK); \
    if (is_new || (within(path) && flags & O_TRUNC)) count(0); \
    else return next(at, path, flags, mode); \
    return opened(next(at, path, flags, mode), path, flags, is_new); \
}
OPENAT(openat)
OPENAT(openat64)

int clock_gettime(clockid_t which, struct timespec *now) {
    NEXT(clock_gettime);
    int done = next(which, now);
    if (!done && frozen && which >= 0 && which < 16) {
        if (!stopped[which].tv_sec) {
            stopped[which] = *now;
            stopped[which].tv_nsec = 0;
        }
        *now = stopped[which];
    }
    if (!done && which == CLOCK_REALTIME) now->tv_sec += clock_shift_s;
    return done;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""


def compiler() -> str | None:
    """Return the C compiler, None if this machine has none."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def compiled(directory: Path) -> Path:
    """Compile the library into `directory`; raises `CalledProcessError` when that fails."""
    source, library = directory / "fault.c", directory / "fault.so"
    source.write_text(SHIM, encoding="utf-8")
    found = compiler()
    assert found
    command = [found, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class Workers:
    """Processes with the library preloaded, to be called with functions of this package."""

    def __init__(self, library: Path) -> None:
        names = ("PATH", "HOME", sources.SYSTEM_VARIABLE)
        kept = {name: os.environ[name] for name in names if name in os.environ}
        self._environment = {
            **kept,
            "LD_PRELOAD": str(library),
            "FAULT_LIBRARY": str(library),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(PROJECT),
            "LANG": "C.UTF-8",
            "TZ": "Europe/Berlin",
        }
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._all: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for _ in range(_WORKERS):
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.support.crash"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment,
                cwd=PROJECT,
            )
            self._all.append(worker)
            self._idle.put(worker)
        return self

    def __exit__(self, *_error: object) -> None:
        for worker in self._all:
            assert worker.stdin
            assert worker.stdout
            worker.kill()
            worker.wait()
            worker.stdin.close()
            worker.stdout.close()

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Run ``function(*arguments)`` in a free worker; an exception there is raised here."""
        worker = self._idle.get()
        try:
            assert worker.stdin
            assert worker.stdout
            task = (function.__module__, function.__name__, arguments)
            _send(worker.stdin, task)
            worked, result = _receive(worker.stdout)
        finally:
            self._idle.put(worker)
        if not worked:
            raise AssertionError(result)
        return result

    def map(self, function: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Return what `call` gives for each tuple of arguments, in their order."""
        with ThreadPoolExecutor(_WORKERS) as pool:
            pending = [pool.submit(self.call, function, *task) for task in tasks]
            try:
                return [one.result() for one in pending]
            finally:
                for one in pending:
                    one.cancel()


def _send(stream: Any, value: object) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack(">q", len(data)) + data)
    stream.flush()


def _receive(stream: Any) -> Any:
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError("the other process has ended")
    return pickle.loads(stream.read(struct.unpack(">q", head)[0]))


class Ended(NamedTuple):
    """How a command ended: its status, negative for a signal, and what it wrote."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What the library does to a command.

    Attributes:
        kill_at: Number of the call at which it is killed, 0 for never.
        half: Whether half of the bytes are written before; without it the call is not made.
        log: Where all calls are noted, with real fsyncs; None for neither.
        frozen: All clocks stand still: two such runs write the same bytes.
    """

    kill_at: int = 0
    half: bool = False
    log: Path | None = None
    frozen: bool = False


HARMLESS = Fault()


def command(
    work: Path,
    arguments: Sequence[str],
    clock_s: float,
    settings: Mapping[str, object],
    fault: Fault = HARMLESS,
) -> Ended:
    """Run a luxcli command in a child of this worker, its database below the directory `work`.

    Args:
        work: Current directory of the command, and the part of the world that faults apply to.
        arguments: As on the command line.
        clock_s: What the clock shows when it starts, seconds since the epoch, UTC.
        settings: As environment variables ``LUXCLI_*`` in small letters, without the prefix.
        fault: What happens to it.
    """
    outputs = [work.with_name(f"{work.name}.{name}") for name in ("out", "err")]
    child = os.fork()
    if not child:
        _become(work, arguments, clock_s, settings, fault, outputs)
    _, status = os.waitpid(child, 0)
    texts = [path.read_text(encoding="utf-8") for path in outputs]
    return Ended(os.waitstatus_to_exitcode(status), *texts)


def _become(
    work: Path,
    arguments: Sequence[str],
    clock_s: float,
    settings: Mapping[str, object],
    fault: Fault,
    outputs: Sequence[Path],
) -> None:
    status = 70
    try:
        import signal

        from luxcli.__main__ import main

        signal.alarm(120)
        logging.disable(logging.NOTSET)
        for target, path in enumerate(outputs, 1):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(fd, target)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        variables = {f"LUXCLI_{name.upper()}": str(value) for name, value in settings.items()}
        fixed = {"LUXCLI_CACHE_PATH": str(work / "data" / "cache.sqlite3"), "HOME": str(work)}
        os.environ.update({"LUXCLI_TIMEZONE": "Europe/Berlin", **fixed, **variables})
        os.chdir(work)
        sys.argv = ["luxcli", *arguments]
        shift_s = round(clock_s) - int(time.time())
        log = str(fault.log or "")
        ctypes.CDLL(os.environ["FAULT_LIBRARY"]).fault_arm(
            *(str(work).encode(), ctypes.c_long(fault.kill_at), int(fault.half)),
            *(log.encode(), int(fault.log is not None), ctypes.c_long(shift_s), int(fault.frozen)),
        )
        try:
            main()
            status = 0
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


class Call(NamedTuple):
    """One noted call. `kind`: c create, w write, s sync, t truncate, r rename, u unlink, m mkdir.

    `path` is absolute; `other` is the new name of a rename; `size` the length of a truncate.
    """

    kind: str
    inode: int
    offset: int
    size: int
    path: str
    other: str
    data: bytes


_HEAD = struct.Struct("=c7xQqqqq")


def calls(log: Path) -> list[Call]:
    """Return the calls noted in a file, in their order."""
    data, position, found = log.read_bytes(), 0, []
    while position < len(data):
        kind, inode, offset, size, one, two = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        path = data[position : position + one].decode()
        other = data[position + one : position + one + two].decode()
        position += one + two
        length = size if kind == b"w" else 0
        found.append(
            Call(
                kind.decode(), inode, offset, size, path, other, data[position : position + length]
            )
        )
        position += length
    return found


Blocks = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
_FOR_EVER = 1 << 62
_UP_TO_NOW = re.compile(r"_\d{4}_(daily|weekly)\.csv$")


@dataclass(slots=True)
class Verdict:
    """What was found wrong in a data directory; nothing should be."""

    checked: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    half: int = 0
    unhealed: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Verdict") -> None:
        for name in ("checked", "lost", "duplicated", "wrong", "half", "unhealed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems += other.problems

    def complain(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        self.problems.append(text)


@dataclass(frozen=True, slots=True)
class Truth:
    """What a data directory may hold.

    Attributes:
        polls: Every poll by its time.
        csvs: What the CSVs of closed periods are, by their paths below the data directory.
        sent: Blocks that a poll made since may have.
        made_ms: From and until when such polls are made.
    """

    polls: Mapping[int, Snapshot]
    csvs: Mapping[str, bytes]
    sent: Collection[Blocks] = ()
    made_ms: tuple[int, int] = (0, 0)


def judge(
    data: Path, truth: Truth, acknowledged: Collection[int], *, new: int, pruned_ms: int = 0
) -> Verdict:
    """Compare the database (flushed by that) and all files in `data` with the truth.

    Args:
        data: The data directory.
        truth: What may be there.
        acknowledged: Times of the polls that must be there.
        new: How many polls may be there that `truth` does not name.
        pruned_ms: Earlier polls may be in an archive only.
    """
    verdict = Verdict(checked=len(acknowledged))
    archived = judge_files(data, truth, verdict)
    damaged: list[int] = []
    found: set[int] = set()
    fresh = 0
    for poll in Store(data / "cache.sqlite3").query(0, _FOR_EVER, damaged=damaged):
        if poll.taken_ms in found:
            verdict.complain("duplicated", f"{poll.taken_ms} is there twice")
        found.add(poll.taken_ms)
        if poll.taken_ms in truth.polls:
            if poll != truth.polls[poll.taken_ms]:
                verdict.complain("wrong", f"{poll.taken_ms} differs")
            continue
        fresh += 1
        blocks = (poll.calculations, poll.parameters, poll.visibilities)
        if blocks not in truth.sent or not truth.made_ms[0] <= poll.taken_ms < truth.made_ms[1]:
            verdict.complain("wrong", f"{poll.taken_ms} was never sent")
    if fresh > new:
        verdict.complain("duplicated", f"{fresh} polls instead of {new} are new")
    for ts_ms in damaged:
        verdict.complain("wrong", f"{ts_ms} differs from its checksum")
    for ts_ms in acknowledged:
        if ts_ms not in found and not (ts_ms < pruned_ms and ts_ms in archived):
            verdict.complain("lost", f"{ts_ms} is lost")
    return verdict


def judge_files(data: Path, truth: Truth, verdict: Verdict) -> set[int]:
    """Compare CSVs and archives under their final names; return the times that archives hold."""
    archived: set[int] = set()
    for path in [*data.rglob("*.csv"), *data.rglob("????-??-??.json.xz")]:
        if path.name.startswith("."):
            continue
        name = str(path.relative_to(data))
        if path.suffix == ".csv":
            content = path.read_bytes()
            if content != truth.csvs.get(name, content) or not is_complete_csv(content):
                verdict.complain("half", f"{name} is not what it should be")
            continue
        try:
            day = document.read(path)
        except StorageError as exc:
            verdict.complain("half", str(exc))
            continue
        archived |= {poll.taken_ms for poll in day.polls}
        if any(truth.polls.get(poll.taken_ms) != poll for poll in day.polls):
            verdict.complain("wrong", f"{name} holds other polls")
    return archived


def is_complete_csv(content: bytes) -> bool:
    """Return whether a CSV has rows, all as long as the first, and ends with a line break."""
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    return (
        content.endswith(b"\n") and len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}
    )


def final_files(data: Path) -> dict[str, bytes]:
    """Return CSVs and archives by their paths below the data directory."""
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in data.rglob("*")
        if path.suffix == ".csv" or path.match("archive/????-??-??.json.xz")
    }


def temporary_files(data: Path) -> list[str]:
    """Return what a killed command left behind."""
    return [str(path.relative_to(data)) for path in data.rglob(".*.tmp")]


@dataclass(frozen=True, slots=True)
class Plan:
    """A command to be killed, and what it starts from.

    Attributes:
        prepared: Holds ``data``, the data directory it finds.
        scratch: Where copies of that are made.
        arguments: The command.
        clock_s: When it starts, seconds since the epoch, UTC.
        settings: As for `command`.
        truth: What may be there before and after it.
        acknowledged: The polls that must be there at any time.
        damaged: The database is damaged or gone: `acknowledged` holds only when all has healed.
        pruned_ms: As for `judge`.
        final: CSVs and archives that are there when all has healed.
    """

    prepared: Path
    scratch: Path
    arguments: tuple[str, ...]
    clock_s: float
    settings: Mapping[str, object]
    truth: Truth
    acknowledged: Collection[int]
    damaged: bool = False
    pruned_ms: int = 0
    final: Mapping[str, bytes] = field(default_factory=dict)

    def heal(self, work: Path) -> list[str]:
        """Do what the scheduler does next, and the command again; return what failed."""
        problems = []
        polls, rollup = ("poll-once",), ("rollup", "daily", "--if-due")
        orders = (polls, rollup, self.arguments, *[rollup] * self.damaged)
        for number, arguments in enumerate(orders, 1):
            ended = command(work, arguments, self.clock_s + 60, self.settings)
            is_last = number == len(orders)
            well = not ended.status if is_last else self.ended_well(ended.status)
            if not well or "Traceback" in ended.stderr:
                problems.append(f"then {arguments}: {ended.status} {ended.stderr}")
        return problems

    def ended_well(self, status: int) -> bool:
        """Whether the command did its work; a damaged database gives findings."""
        return status in ((0, FINDINGS) if self.damaged else (0,))


def rehearse(plan: Plan) -> tuple[list[Call], dict[str, bytes], list[int]]:
    """Run a plan undisturbed.

    Returns:
        The calls of its command, the files and the polls that are there when all has healed.
    """
    work = _begin(plan)
    log = work.with_name(f"{work.name}.log")
    log.unlink(missing_ok=True)
    ended = command(work, plan.arguments, plan.clock_s, plan.settings, Fault(log=log))
    assert plan.ended_well(ended.status), ended
    problems = plan.heal(work)
    assert not problems, problems
    data = work / "data"
    times = Store(data / "cache.sqlite3").database.times(0, _FOR_EVER)
    return calls(log), final_files(data), times


def killed(path: Path, kill_at: int, half: bool) -> tuple[bytes, Verdict] | None:
    """Kill the command of the plan stored at `path` and look; None if it ended before.

    Many kills leave the same bytes once SQLite has rolled back: what follows from them is looked
    at once.

    Returns:
        A digest of what was left, and what was found.
    """
    plan = _plan(path)
    work = _begin(plan)
    fault = Fault(kill_at, half=half, frozen=True)
    ended = command(work, plan.arguments, plan.clock_s, plan.settings, fault)
    if ended.status != KILLED:
        assert plan.ended_well(ended.status), ended
        return None
    state = digest(work)
    if (path, state) not in _SEEN:
        copy = _copy(work, plan.scratch / f"copy-{os.getpid()}")
        verdict = _SEEN[path, state] = Verdict()
        if plan.damaged:
            judge_files(copy / "data", plan.truth, verdict)
        else:
            verdict.add(
                judge(
                    *(copy / "data", plan.truth, plan.acknowledged),
                    new=1,
                    pruned_ms=plan.pruned_ms,
                )
            )
        verdict.add(_healed(plan, work))
        verdict.checked = len(plan.acknowledged)
        place = f"killed at {kill_at}{' half way' if half else ''}: "
        verdict.problems = [place + problem for problem in verdict.problems]
    return state, _SEEN[path, state]


_SEEN: dict[tuple[Path, bytes], Verdict] = {}


def _healed(plan: Plan, work: Path) -> Verdict:
    verdict, data = Verdict(), work / "data"
    for problem in plan.heal(work):
        verdict.complain("unhealed", problem)
    # The killed poll and the next one; and once more where the command itself is a poll.
    new = 2 + (plan.arguments[0] == "poll-once")
    verdict.add(judge(data, plan.truth, plan.acknowledged, new=new, pruned_ms=plan.pruned_ms))
    # A report up to now carries the time at which it was written.
    difference = final_files(data).keys() ^ plan.final.keys()
    if any(not _UP_TO_NOW.search(name) for name in difference):
        verdict.complain("unhealed", f"files: {sorted(difference)}")
    for name in temporary_files(data):
        verdict.complain("unhealed", f"{name} stays behind")
    return verdict


def digest(work: Path) -> bytes:
    """Return a digest of all files but notes in locks, as they are once SQLite has rolled back.

    It does so in a copy; what is left of its journal means nothing then.
    """
    total = hashlib.sha256()
    for path in sorted(work.rglob("*")):
        if path.suffix == ".lock" or path.name.endswith("-journal") or not path.is_file():
            continue
        content = _rolled_back(path) if path.name == "cache.sqlite3" else path.read_bytes()
        total.update(str(path.relative_to(work)).encode() + b"\0")
        total.update(hashlib.sha256(content).digest())
    return total.digest()


def _rolled_back(cache: Path) -> bytes:
    copy = cache.parent.parent.with_suffix(".sqlite3")
    for ending in ("", "-journal"):
        source, target = cache.with_name(cache.name + ending), Path(f"{copy}{ending}")
        target.unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, target)
    with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as db:
        db.execute("SELECT count(*) FROM sqlite_master")
    return copy.read_bytes()


@functools.lru_cache(4)
def _plan(path: Path) -> Plan:
    plan: Plan = pickle.loads(path.read_bytes())
    return plan


def _begin(plan: Plan) -> Path:
    """Return a copy of what the plan starts from, as if it had always been at its new place."""
    work = _copy(plan.prepared, plan.scratch / f"work-{os.getpid()}")
    cache = work / "data" / "cache.sqlite3"
    if cache.exists() and not plan.damaged:
        with closing(sqlite3.connect(cache)) as db, db:
            old, new = str(plan.prepared), str(work)
            db.execute("UPDATE rollup SET path=replace(path,?,?)", (old, new))
            db.execute("UPDATE archive SET path=replace(path,?,?)", (old, new))
    return work


def _copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _serve() -> None:
    """Do what arrives on standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.disable()
    _import_all()
    gc.freeze()  # children then share what was imported
    while True:
        try:
            module, name, arguments = _receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            function = getattr(__import__(module, fromlist=[name]), name)
            result = (True, function(*arguments))
        except Exception:
            result = (False, traceback.format_exc())
        _send(answers, result)


def _import_all() -> None:
    """Import what the commands need, once for all children."""
    import gzip  # noqa: F401  so that no child has to

    import luxcli.cli.app
    import luxcli.maintenance.prune
    import luxcli.maintenance.rebuild
    import luxcli.recording.poll
    import luxcli.rollup.rollup
    import luxcli.simulator.server  # noqa: F401  likewise


if __name__ == "__main__":
    _serve()
