"""The directory of a database: creates it, lists it, renames databases in it."""

import errno
import os
import stat
import time
from datetime import date
from pathlib import Path

from luxcli.errors import IncompatibleError, StorageError, file_error
from luxcli.system import files

# Places in the header of a SQLite file, and what a development version wrote there.
_HEADER_BYTES = 72
_VERSION, _APPLICATION = slice(60, 64), slice(68, 72)
_LUXCLI, _DEVELOPMENT = b"LuxC", b"\0\0\0\1"
# What to do about a damaged database.
HEALING = "'luxcli rollup daily' rebuilds it from archives and journals"
_OLD_BUFFER = ".buffer.jsonl"
# What SQLite adds to the name for its own files.
BESIDE = ("-journal", "-wal", "-shm")
# In the name of a quarantined database, before the time.
_QUARANTINED = ".damaged-"
# In the name of a journal, around its date.
_POLLS, _LINES = ".polls-", ".jsonl"


def prepare(path: Path, *, parents: bool) -> None:
    """Create the directory of a database if it is missing.

    Args:
        path: The database.
        parents: Create the directories above as well; otherwise the parent must exist, so that a
            forgotten mount or a typing error does not fill some other disk.

    Raises:
        StorageError: The directory cannot be created; says which directory is missing.
    """
    check(path, parents=parents)
    directory = path.parent
    if directory.is_dir():
        return
    try:
        files.make_directory(directory)
    except OSError as exc:
        raise file_error(directory, "cannot be created", exc) from exc


def check(path: Path, *, parents: bool) -> None:
    """Check, without creating anything, that `prepare` would succeed.

    Raises:
        StorageError: `prepare` would fail.
    """
    directory = path.parent
    try:
        if path.is_dir():
            raise StorageError(f"{path}: is a directory", advice="cache_path must name a file")
        if directory.is_dir():
            return
        if directory.exists():
            raise StorageError(f"{directory}: is not a directory", advice="correct cache_path")
        if not parents and not directory.parent.is_dir():
            raise StorageError(
                f"{directory}: neither this directory nor its parent exists",
                advice="create it or correct cache_path",
            )
    except OSError as exc:
        raise file_error(directory, "cannot be read", exc) from exc


def check_version(path: Path) -> None:
    """Refuse a file of a development version, by its header and without loading SQLite.

    Raises:
        IncompatibleError: It is one. Names the buffer that such a version may have left.
        StorageError: It, or a file that SQLite keeps beside it, is not a regular file; or it is a
            link that leads nowhere.
    """
    for suffix in BESIDE:
        # SQLite would wait for the writer of a named pipe.
        beside = f"{path}{suffix}"
        try:
            is_regular = stat.S_ISREG(os.stat(beside).st_mode)
        except FileNotFoundError:
            continue
        except NotADirectoryError as exc:
            raise StorageError(
                f"{path.parent}: is not a directory", advice="correct cache_path"
            ) from exc
        except OSError as exc:
            raise file_error(beside, "cannot be read", exc) from exc
        if not is_regular:
            raise StorageError(f"{beside}: not a regular file", advice="move it away and run again")
    try:
        # Opening a named pipe to read it would wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if path.is_symlink() and exc.errno in (errno.ENOENT, errno.ELOOP):
            raise StorageError(
                f"{path}: leads to {path.readlink()}, which does not exist: is it mounted?"
            ) from exc
        return  # missing, or SQLite will say what is wrong
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise StorageError(f"{path}: not a regular file", advice="move it away and run again")
        head = os.read(fd, _HEADER_BYTES)
    finally:
        os.close(fd)
    if head[_APPLICATION] == _LUXCLI and head[_VERSION] == _DEVELOPMENT:
        buffer = path.with_name(path.name + _OLD_BUFFER)
        also = f" and {buffer.name} beside it" if buffer.exists() else ""
        raise IncompatibleError(
            f"{path}: made by a development version of luxcli; nothing was changed",
            advice=f"move it{also} away",
        )


def list_directory(directory: Path) -> list[Path]:
    """Return the entries of a directory, sorted; none if the directory does not exist.

    Raises:
        StorageError: It is there but cannot be read.
    """
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError as exc:
        if not directory.is_symlink():
            return []
        raise StorageError(
            f"{directory}: leads to {directory.readlink()}, which does not exist: is it mounted?"
        ) from exc
    except NotADirectoryError as exc:
        raise StorageError(f"{directory}: is not a directory") from exc
    except OSError as exc:
        raise file_error(directory, "cannot be read", exc) from exc


def journal_path(path: Path, day: str) -> Path:
    """Return the journal of a UTC day, as YYYY-MM-DD, beside a database."""
    return path.with_name(f"{path.name}{_POLLS}{day}{_LINES}")


def journal_paths(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the journals beside a database, oldest first, and what only has such a name.

    The latter is no regular file, or there is no such date. It must not keep the others from being
    read.

    Raises:
        StorageError: The directory cannot be read.
    """
    start = path.name + _POLLS
    length = len(f"{start}0000-00-00{_LINES}")
    journals: list[Path] = []
    others: list[Path] = []
    for each in list_directory(path.parent):
        name = each.name
        if name.startswith(start) and name.endswith(_LINES) and len(name) == length:
            is_one = _is_date(name[len(start) : -len(_LINES)]) and _is_regular(each)
            (journals if is_one else others).append(each)
    return journals, others


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text  # it reads 2026-W48-1, too
    except ValueError:
        return False


def _is_day(text: str) -> bool:
    """Whether a date is one that an archive may have: a clock may begin in 1970."""
    return "1969-12-31" <= text < "2100-01-02" and _is_date(text)


def _is_regular(path: Path) -> bool:
    """Whether a path is a regular file itself; a link is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def archive_directory(path: Path) -> Path:
    """Return the directory of the daily archives of a database."""
    return path.parent / "archive"


def archive_paths(directory: Path) -> list[Path]:
    """Return the daily archives in a directory, oldest first; no other name is one.

    Raises:
        IncompatibleError: There is one of a development version.
        StorageError: The directory is there but cannot be read.
    """
    found = list_directory(directory)
    if old := [path for path in found if path.name.endswith(".luxlog.gz")]:
        raise IncompatibleError(
            f"{old[0]}: made by a development version of luxcli; nothing was changed",
            advice="move all *.luxlog.gz away",
        )
    return [path for path in found if path.match("????-??-??.json.xz") and _is_day(path.name[:10])]


def quarantined_paths(path: Path) -> list[Path]:
    """Return the damaged databases in quarantine, oldest first.

    Raises:
        StorageError: The directory cannot be read.
    """
    start = path.name + _QUARANTINED
    found = [each for each in list_directory(path.parent) if each.name.startswith(start)]
    return [each for each in found if not each.name.endswith(BESIDE)]


def quarantine(path: Path) -> Path:
    """Quarantine a damaged database: rename it, and return the new name.

    Raises:
        StorageError: The database cannot be renamed.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{path.name}{_QUARANTINED}{stamp}"
    new_path, count = path.with_name(name), 1
    while new_path.exists():
        count += 1
        new_path = path.with_name(f"{name}-{count}")
    rename(path, new_path)
    return new_path


def rename(old: Path, new: Path) -> None:
    """Rename a database together with what SQLite keeps beside it and finds by name.

    Raises:
        StorageError: The database cannot be renamed.
    """
    try:
        for suffix in BESIDE:
            beside = old.with_name(old.name + suffix)
            if beside.exists():
                beside.rename(new.with_name(new.name + suffix))
        old.rename(new)
        files.sync_directory(old.parent)
    except OSError as exc:
        raise file_error(old, "cannot be renamed", exc) from exc
