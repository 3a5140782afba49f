"""What processes write, seen at the kernel's door by strace: syncs, bytes, pages.

``/proc/self/io`` cannot be used: with large folios it counts far more than was written. Instead
there are two measures. `Writes.raw` adds up what `write` and `pwrite` were given. `Writes.pages` is
nearer to what reaches a disk: each page of 4 KiB of a file counts once from one fsync of that file
to the next, for that is when it is written; what no fsync asked for counts once in the end. The
metadata of the file system and its journal come on top: where root may, `loopdevice` counts those.
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
    """What was written below one directory."""

    fsyncs: int = 0
    raw: int = 0
    pages: int = 0
    fsyncs_by_file: dict[str, int] = field(default_factory=dict)

    @property
    def page_bytes(self) -> int:
        """Pages in bytes."""
        return self.pages * PAGE


def available() -> bool:
    """Whether processes can be traced here."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return done.returncode == 0


def traced(
    commands: Sequence[Sequence[str]], directory: Path, *, statuses: Sequence[int] = (0,)
) -> Writes:
    """Run commands one after the other and return what they wrote below `directory` in all."""
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
            account.see(log.read().splitlines())
    return account.end()


class _Account:
    """Follows positions in files and pages that are not yet on the disk."""

    def __init__(self, directory: Path) -> None:
        self._below = f"{directory.resolve()}/"
        self._directory = str(directory.resolve())
        self._writes = Writes()
        self._dirty: dict[str, set[int]] = {}
        self._position: dict[str, int] = {}
        self._size: dict[str, int] = {}

    def see(self, lines: Sequence[str]) -> None:
        self._position.clear()
        for line in lines:
            match = _LINE.match(line)
            if match and int(match[3]) >= 0:
                self._call(match[1], match[2], int(match[3]))

    def end(self) -> Writes:
        for path in list(self._dirty):
            self._synced(path)
        return self._writes

    def _call(self, name: str, arguments: str, result: int) -> None:
        if name == "openat":
            self._opened(arguments)
            return
        file = _FILE.match(arguments)
        if file is None or not f"{file[2]}/".startswith(self._below):
            return
        descriptor, path = file[1], file[2]
        if name in ("fsync", "fdatasync"):
            self._writes.fsyncs += 1
            short = Path(path).name if path != self._directory else "directory"
            count = self._writes.fsyncs_by_file
            count[short] = count.get(short, 0) + 1
            self._synced(path)
        elif name == "pwrite64":
            self._wrote(path, int(arguments.rsplit(",", 1)[1]), result)
        elif name == "write":
            at = self._position.get(f"{descriptor} {path}", self._size.get(path, 0))
            self._position[f"{descriptor} {path}"] = at + result
            self._wrote(path, at, result)
        elif name == "lseek":
            self._position[f"{descriptor} {path}"] = result
        elif name == "ftruncate":
            self._size[path] = int(arguments.rsplit(",", 1)[1])

    def _opened(self, arguments: str) -> None:
        if "O_TRUNC" in arguments:
            name = re.search(r'"([^"]*)"', arguments)
            if name:
                self._size[str(Path(self._directory, name[1]))] = 0

    def _wrote(self, path: str, at: int, length: int) -> None:
        self._writes.raw += length
        if length:
            pages = range(at // PAGE, (at + length - 1) // PAGE + 1)
            self._dirty.setdefault(path, set()).update(pages)
        self._size[path] = max(self._size.get(path, 0), at + length)

    def _synced(self, path: str) -> None:
        self._writes.pages += len(self._dirty.pop(path, ()))
