"""The tests themselves: nothing of the machine or the shell that runs them changes their result."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
# Tests that search for a configuration, send notifications, show times, colours and files' modes,
# and start processes; those of all rooms take minutes.
CHOSEN = ("tests/cli/test_status.py", "tests/cli/test_json_keys.py", "tests/config", "tests/system")

# /etc as it is, and luxcli's directory in it; the shell's signals as nohup and '&' leave them.
SCRIPT = """
set -e
mount -t tmpfs tmpfs "$1"
cp -a /etc/. "$1" 2>/dev/null || true
rm -rf "$1/luxcli"
cp -r "$2" "$1/luxcli"
mount --bind "$1" /etc
grep -q 203.0.113.9 /etc/luxcli/config.yaml
umask 077
trap '' HUP INT
shift 2
exec "$@"
"""
CONFIG = """
host: 203.0.113.9
csv_time: "23:00"
monitoring:
  command: [touch, {called}]
"""
SHELL = {
    "LUXCLI_INTERVAL_SEC": "45",
    "LUXCLI_CONFIG": "/nowhere.yaml",
    "HOST": "203.0.113.9",
    "COLUMNS": "20",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "LC_ALL": "C",
    "LANG": "C",
    "TZ": "Pacific/Kiritimati",
    "http_proxy": "http://203.0.113.9:1",
    "XDG_DATA_HOME": "/proc",
    "PYTHONIOENCODING": "ascii",
    "SUDO_USER": "nobody",
}


def own_mounts() -> list[str]:
    """Return the command before one that runs in a mount namespace; skips the test without one."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no 'unshare' to hide this machine's /etc with")
    before = [unshare, "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = [*before, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(mount, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mount namespace here: {tried.stderr.decode().strip()}")
    return before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_configuration_of_the_machine_and_of_the_shell_changes_no_test(tmp_path):
    before = own_mounts()
    called = tmp_path / "called"
    for place in (tmp_path / "etc", tmp_path / "home" / ".config" / "luxcli"):
        place.mkdir(parents=True)
        (place / "config.yaml").write_text(CONFIG.format(called=called), encoding="utf-8")
    (tmp_path / "new").mkdir()
    options = ["-q", "-p", "no:cacheprovider", "--timeout=60", f"--basetemp={tmp_path}/inner"]
    done = subprocess.run(
        [
            *(*before, "sh", "-c", SCRIPT, "sh", tmp_path / "new", tmp_path / "etc"),
            *(sys.executable, "-m", "pytest", *options, *CHOSEN),
        ],
        env={**os.environ, **SHELL, "HOME": str(tmp_path / "home")},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert not called.exists()
