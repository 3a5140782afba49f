"""How full disks are, and what kind of file system holds a path."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """How full the disk is that holds `directory`; `free` in bytes."""

    directory: Path
    percent: float
    free: int

    def text(self, limit_percent: int) -> str:
        """Return this for people."""
        return (
            f"{self.directory}: the disk is {self.percent:.0f} % full"
            f" (limit {limit_percent} %, {self.free / 1e6:.0f} MB free)"
        )


def disks(directories: Iterable[Path]) -> list[Disk]:
    """Return each file system that holds one of the directories, once; missing ones have none."""
    found = []
    seen: set[int] = set()
    for directory in directories:
        if not directory.is_dir() or directory.stat().st_dev in seen:
            continue
        seen.add(directory.stat().st_dev)
        usage = shutil.disk_usage(directory)
        # As df does: what only root may use counts as neither used nor free.
        percent = 100 * usage.used / (usage.used + usage.free or 1)
        found.append(Disk(directory, percent, usage.free))
    return found


@dataclass(frozen=True, slots=True)
class Mount:
    """The file system that holds a path."""

    kind: str
    where: str


def mount_of(path: Path, mounts: str) -> Mount | None:
    """Return the file system that holds `path`, by a text like that of ``/proc/mounts``."""
    found: Mount | None = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # A blank in a name is written as an octal number.
        where = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1])
        # A later mount on the same place hides the earlier one.
        if path.is_relative_to(where) and (found is None or len(where) >= len(found.where)):
            found = Mount(fields[2], where)
    return found
