"""A block device of its own, so that what reaches it can be counted; root only."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SECTOR = 512
_SIZE = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted ext4 on a loop device."""

    directory: Path
    device: str

    def sync(self) -> None:
        """Write what waits in memory."""
        _run("sync", "-f", str(self.directory))

    def written(self) -> int:
        """Return the bytes written to the device so far, with all that waits in memory."""
        self.sync()
        fields = Path(f"/sys/block/{self.device}/stat").read_text(encoding="ascii").split()
        return int(fields[6]) * _SECTOR


def available() -> bool:
    """Whether this user may make and mount one."""
    tools = all(shutil.which(tool) for tool in ("losetup", "mkfs.ext4", "mount", "umount"))
    return os.geteuid() == 0 and tools and Path("/dev/loop-control").exists()


@contextmanager
def mounted(scratch: Path, name: str) -> Iterator[Disk]:
    """Make an ext4 with default options in a file below `scratch` and mount it."""
    image, directory = scratch / f"{name}.img", scratch / name
    directory.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE)
    _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    loop = _run("losetup", "--find", "--show", str(image)).strip()
    try:
        _run("mount", loop, str(directory))
        try:
            device = re.sub(r"^/dev/", "", loop)
            yield Disk(directory, device)
        finally:
            _run("umount", str(directory))
    finally:
        _run("losetup", "--detach", loop)
        image.unlink()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
