"""supercronic, as Debian packages it, for tests of what it starts."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest


def supercronic(directory: Path) -> str:
    """Return the program: that of the PATH, or of Debian's package; skips the test without one."""
    if found := shutil.which("supercronic"):
        return found
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    if not (shutil.which("apt-get") and shutil.which("dpkg") and sources.exists()):
        pytest.skip("no supercronic, and no Debian to get its package from")
    apt = directory / "apt"
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    first = sources.read_text(encoding="utf-8").split("\n\n")[0]
    forky = re.sub(r"(?m)^Suites:.*", "Suites: forky", first) + "\n"
    (apt / "sources" / "forky.sources").write_text(forky, encoding="utf-8")
    options = [
        *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={apt}/sources"),
        *("-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache"),
    ]
    steps = (
        ["apt-get", *options, "update", "-qq"],
        ["apt-get", *options, "download", "supercronic"],
        ["sh", "-c", "dpkg -x supercronic_*.deb ."],
    )
    for step in steps:
        done = subprocess.run(step, cwd=apt, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"supercronic cannot be had: {done.stderr.strip() or step}")
    return str(apt / "usr" / "bin" / "supercronic")
