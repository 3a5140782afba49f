"""How full disks are, and what kind of file system holds a path."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """How full the disk is that holds a directory.

    Attributes:
        directory: The directory.
        percent: Used share of what users other than root may use.
        free: Bytes that such users may still write.
    """

    directory: Path
    percent: float
    free: int

    def describe(self, limit_percent: int) -> str:
        """Return a sentence for messages, with the limit that was set."""
        return (
            f"{self.directory}: the disk is {self.percent:.0f} % full"
            f" (limit {limit_percent} %, {self.free / 1e6:.0f} MB free)"
        )


def disks(directories: Iterable[Path]) -> list[Disk]:
    """Return each disk that holds one of the directories, once; missing directories have none."""
    found = []
    seen: set[int] = set()
    for directory in directories:
        if not directory.is_dir() or directory.stat().st_dev in seen:
            continue
        seen.add(directory.stat().st_dev)
        usage = shutil.disk_usage(directory)
        # As in df, the reserve of root counts as neither used nor free.
        percent = 100 * usage.used / (usage.used + usage.free or 1)
        found.append(Disk(directory, percent, usage.free))
    return found


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its type, such as ext4, and its mount point."""

    kind: str
    mount_point: str


def mount_of(path: Path, mounts: str) -> Mount | None:
    """Return the file system that holds `path`, according to the text of ``/proc/mounts``."""
    found: Mount | None = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # A blank in a name is written as an octal number.
        mount_point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1])
        length = len(found.mount_point) if found else 0
        # A later mount at the same point hides the earlier one.
        if path.is_relative_to(mount_point) and len(mount_point) >= length:
            found = Mount(fields[2], mount_point)
    return found
