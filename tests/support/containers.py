"""podman or docker, for tests of the image. Uses what is installed; installs nothing.

The base image of the Dockerfile has to be there already, or its stand-in is made of Debian
packages (`CONTAINER_BASE=mmdebstrap`, half a minute), in a store of its own, so that it is never
taken for the real one. Only the base may differ: the Dockerfile is built as it is.
"""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BASE = "docker.io/library/python:3.13-slim"
MIRROR = "http://deb.debian.org/debian/dists/forky/InRelease"
# crun refuses mixed cgroups, and without systemd there is nobody to ask for them.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
# As the official image: Python and pip only in /usr/local/bin, time zones, no bytecode.
STAND_IN = r"""
set -e
cd "$1"
mmdebstrap --quiet --variant=minbase \
  --include=ca-certificates,netbase,tzdata,python3,python3-pip,python3-venv \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/usr/lib/python3.13/EXTERNALLY-MANAGED "$1"/usr/bin/pip*' \
  --customize-hook='mv "$1"/usr/bin/python3* "$1"/usr/local/bin/' \
  --customize-hook='ln -s python3 "$1"/usr/local/bin/python' \
  --customize-hook='printf "%s\n" "#!/usr/local/bin/python3" "import sys" \
    "from pip._internal.cli.main import main" "sys.exit(main())" > "$1"/usr/local/bin/pip' \
  --customize-hook='chmod 755 "$1"/usr/local/bin/pip' \
  --customize-hook='find "$1"/usr/lib -depth -name __pycache__ -exec rm -rf {} +' \
  trixie base.tar
podman import -q --change 'CMD ["python3"]' \
  --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' base.tar "$2"
rm base.tar
"""


class UnusableError(Exception):
    """Why no image can be built or run here."""


class Engine:
    """Runs podman or docker."""

    def __init__(self, program: str, environ: Mapping[str, str]) -> None:
        self.program = program
        self._environ = {**os.environ, **environ}

    def __call__(self, *words: object, check: bool = True, **options: Any) -> Any:
        """Run a command and return its `CompletedProcess`."""
        done = subprocess.run(
            [self.program, *map(str, words)],
            **{"capture_output": True, "text": True, "env": self._environ, **options},
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def build(self, context: Path, tag: str, directory: Path, *arguments: str) -> None:
        """Build the unmodified Dockerfile, with this machine's mirrors and certificates."""
        flags: list[object] = ["--network", "host"]
        if self.program == "podman":
            flags += ["--format", "docker", "--pull=never"]
            for file in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
                if Path(file).exists():
                    flags += ["-v", f"{file}:{file}:ro"]
            ways = directory / "apt.conf"
            ways.write_text(_ways_to_mirrors(), encoding="utf-8")
            flags += ["-v", f"{ways}:/etc/apt/apt.conf.d/99host:ro"]
        self("build", *flags, *arguments, "-t", tag, context)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what is known about an image or a container."""
        found: dict[str, Any] = json.loads(self("inspect", name).stdout)[0]
        return found


def find(directory: Path) -> Engine:
    """Return an engine that has the base image and runs it.

    Raises:
        UnusableError: There is none; says why.
    """
    if os.geteuid():
        raise UnusableError("not root: directories could not be given to other users")
    stand_in = os.environ.get("CONTAINER_BASE") == "mmdebstrap"  # made in podman's own store
    docker = not stand_in and shutil.which("docker")
    if docker and not Engine("docker", {})("info", check=False).returncode:
        return _tried(Engine("docker", {}))
    if not shutil.which("podman"):
        raise UnusableError("neither podman nor a running docker is here")
    return _tried(_podman(directory))


def forget(engine: Engine, directory: Path) -> None:
    """Remove the store that was made for the stand-in."""
    if (directory / "storage.conf").exists():
        engine("system", "reset", "--force", check=False)
        subprocess.run(["umount", "-q", directory / "graph" / "overlay"], check=False)


def _podman(directory: Path) -> Engine:
    environ: dict[str, str] = {}
    if "CONTAINERS_CONF" not in os.environ:
        (directory / "containers.conf").write_text(CONTAINERS_CONF, encoding="utf-8")
        environ["CONTAINERS_CONF"] = str(directory / "containers.conf")
    if os.environ.get("CONTAINER_BASE") != "mmdebstrap":
        return Engine("podman", environ)
    if not shutil.which("mmdebstrap"):
        raise UnusableError("no mmdebstrap to make a base image with")
    (directory / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/graph"\n'
        f'runroot = "{directory}/run"\n',
        encoding="utf-8",
    )
    environ["CONTAINERS_STORAGE_CONF"] = str(directory / "storage.conf")
    made = subprocess.run(
        ["sh", "-c", STAND_IN, "sh", directory, BASE],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise UnusableError(f"no base image could be made: {made.stderr.strip()[-500:]}")
    return Engine("podman", environ)


def _tried(engine: Engine) -> Engine:
    if engine("image", "inspect", BASE, check=False).returncode:
        raise UnusableError(
            f"{engine.program} has no image {BASE}; CONTAINER_BASE=mmdebstrap makes a stand-in"
        )
    ran = engine("run", "--rm", "--network", "host", BASE, "python3", "-V", check=False)
    if ran.returncode:
        raise UnusableError(f"{engine.program} runs nothing here: {ran.stderr.strip()[-500:]}")
    try:
        urllib.request.urlopen(MIRROR, timeout=10).close()
    except OSError as exc:
        raise UnusableError(f"no Debian mirror: {exc}") from exc
    return engine


def _ways_to_mirrors() -> str:
    """Return this machine's settings for apt that have to do with mirrors: proxies, dates."""
    if not shutil.which("apt-config"):
        return ""
    dump = subprocess.run(
        ["apt-config", "dump", "--format", '%F "%v";%n'], capture_output=True, text=True, check=True
    )
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    lines = [line for line in dump.stdout.splitlines() if line.startswith(wanted)]
    return "".join(f"{line}\n" for line in lines if not line.endswith(' "";'))
