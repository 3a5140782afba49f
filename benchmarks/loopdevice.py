"""A loop device with ext4, to count the bytes that reach a block device; needs root."""

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
    """A mounted ext4 file system on a loop device."""

    directory: Path
    device: str

    def sync(self) -> None:
        """Write what is still in the page cache."""
        _run("sync", "-f", str(self.directory))

    def written(self) -> int:
        """Sync, then return the bytes written to the device so far."""
        self.sync()
        fields = Path(f"/sys/block/{self.device}/stat").read_text(encoding="ascii").split()
        return int(fields[6]) * _SECTOR


def available() -> bool:
    """Whether a loop device can be made and mounted by this user."""
    tools = all(shutil.which(tool) for tool in ("losetup", "mkfs.ext4", "mount", "umount"))
    return os.geteuid() == 0 and tools and Path("/dev/loop-control").exists()


@contextmanager
def mounted(scratch: Path, name: str) -> Iterator[Disk]:
    """Make an ext4 with default options in a file in `scratch`, and mount it during the block."""
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
