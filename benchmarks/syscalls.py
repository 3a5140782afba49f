"""Counts what processes write, with strace: syncs, bytes and pages.

``/proc/self/io`` is not used: with large folios it counts far more than was written. There are two
measures. `Writes.raw` is the sum of the bytes passed to `write` and `pwrite`. `Writes.pages` is
nearer to what reaches a disk: a page of 4 KiB counts once between two fsyncs of its file, because
it is written to the disk at the fsync; pages after the last fsync count once at the end. The
metadata and the journal of the file system come on top; `loopdevice` counts those.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.processes import environment

PAGE: Final = 4096
_CALLS: Final = (
    "openat,open,creat,close,write,pwrite64,writev,pwritev,fsync,fdatasync,sync_file_range,"
    "lseek,ftruncate,rename,renameat,renameat2,unlink,unlinkat"
)
_LINE: Final = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_FILE: Final = re.compile(r"^(\d+)<([^>]*)>")


@dataclass(slots=True)
class Writes:
    """What was written in one directory and below.

    Attributes:
        fsyncs: Number of fsync and fdatasync calls.
        raw: Bytes passed to write calls.
        pages: Pages of 4 KiB, each counted once per fsync of its file.
        fsyncs_by_file: Number of syncs by file name.
    """

    fsyncs: int = 0
    raw: int = 0
    pages: int = 0
    fsyncs_by_file: dict[str, int] = field(default_factory=dict)

    @property
    def page_bytes(self) -> int:
        """`pages` in bytes."""
        return self.pages * PAGE


def available() -> bool:
    """Whether strace is installed and permitted."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return done.returncode == 0


def trace(
    commands: Sequence[Sequence[str]], directory: Path, *, statuses: Sequence[int] = (0,)
) -> Writes:
    """Run commands one after the other; return what all of them wrote in `directory` and below."""
    account = _Account(directory)
    for command in commands:
        with tempfile.NamedTemporaryFile("r", prefix="luxcli-strace-") as log:
            options = ["-f", "-y", "-s", "0", "-e", f"trace={_CALLS}", "-o", log.name]
            done = subprocess.run(
                ["strace", *options, *command],
                cwd=directory,
                env=environment(directory),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode not in statuses:
                raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")
            account.update(log.read().splitlines())
    return account.finish()


class _Account:
    """Follows the positions in files and the pages that no fsync has written yet."""

    def __init__(self, directory: Path) -> None:
        self._prefix = f"{directory.resolve()}/"
        self._directory = str(directory.resolve())
        self._writes = Writes()
        self._dirty: dict[str, set[int]] = {}
        self._position: dict[str, int] = {}
        self._size: dict[str, int] = {}

    def update(self, lines: Sequence[str]) -> None:
        self._position.clear()
        for line in lines:
            match = _LINE.match(line)
            if match and int(match[3]) >= 0:
                self._call(match[1], match[2], int(match[3]))

    def finish(self) -> Writes:
        for path in list(self._dirty):
            self._sync(path)
        return self._writes

    def _call(self, name: str, arguments: str, result: int) -> None:
        if name == "openat":
            self._open(arguments)
            return
        file = _FILE.match(arguments)
        if file is None or not f"{file[2]}/".startswith(self._prefix):
            return
        descriptor, path = file[1], file[2]
        if name in ("fsync", "fdatasync"):
            self._writes.fsyncs += 1
            short = Path(path).name if path != self._directory else "directory"
            count = self._writes.fsyncs_by_file
            count[short] = count.get(short, 0) + 1
            self._sync(path)
        elif name == "pwrite64":
            self._write(path, int(arguments.rsplit(",", 1)[1]), result)
        elif name == "write":
            at = self._position.get(f"{descriptor} {path}", self._size.get(path, 0))
            self._position[f"{descriptor} {path}"] = at + result
            self._write(path, at, result)
        elif name == "lseek":
            self._position[f"{descriptor} {path}"] = result
        elif name == "ftruncate":
            self._size[path] = int(arguments.rsplit(",", 1)[1])

    def _open(self, arguments: str) -> None:
        if "O_TRUNC" in arguments:
            name = re.search(r'"([^"]*)"', arguments)
            if name:
                self._size[str(Path(self._directory, name[1]))] = 0

    def _write(self, path: str, at: int, length: int) -> None:
        self._writes.raw += length
        if length:
            pages = range(at // PAGE, (at + length - 1) // PAGE + 1)
            self._dirty.setdefault(path, set()).update(pages)
        self._size[path] = max(self._size.get(path, 0), at + length)

    def _sync(self, path: str) -> None:
        self._writes.pages += len(self._dirty.pop(path, ()))
