"""The real schedulers fire what `luxcli schedule` makes of an interval of 10 seconds.

Debian's cron runs in mount and process namespaces of its own: the machine's crontabs and a cron
that runs there are not touched. supercronic is that of the PATH, or Debian's package.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from luxcli.store.store import Store
from tests.support.builders import PROJECT
from tests.support.faulty_controller import FaultyController, eventually

pytestmark = pytest.mark.sweep
PRIVATE = """
set -e
mount -t tmpfs none /run
mount -t tmpfs none /var/spool/cron
mount -t tmpfs none /etc/cron.d
mount --bind /dev/null /etc/crontab
install -d -m 1730 -o root -g crontab /var/spool/cron/crontabs
"$@" schedule cron --install --yes --command "$COMMAND" --config "$CONFIG"
"$@" schedule cron --install --yes --command "$COMMAND" --config "$CONFIG"
crontab -l
exec cron -f -L 15
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
COMMAND = f"env PYTHONPATH={PROJECT} {sys.executable} -m luxcli"


def setting_up(directory: Path, pump: FaultyController) -> Path:
    """Write the configuration for a poll every 10 seconds."""
    file = directory / "luxcli.yaml"
    file.write_text(
        f"host: 127.0.0.1\nport: {pump.port}\ninterval_sec: 10\ncache_path: cache.sqlite3\n",
        encoding="utf-8",
    )
    return file


def cron_is_usable() -> str | None:
    """Return why a private cron cannot run here, None when it can."""
    missing = [tool for tool in ("cron", "crontab", "unshare") if not shutil.which(tool)]
    if missing:
        return f"not there: {', '.join(missing)}"
    if os.geteuid():
        return "cron needs root"
    allowed = subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True, text=True)
    return f"no private namespaces: {allowed.stderr.strip()}" if allowed.returncode else None


@pytest.fixture(scope="module", autouse=True)
def cron(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | str]:
    """Start a private cron with the installed lines; the next minute comes while others test.

    Gives the directory, or the reason why there is none.
    """
    if why := cron_is_usable():
        yield why
        return
    directory = tmp_path_factory.mktemp("cron")
    with FaultyController(clock=time.time) as pump, (directory / "said").open("wb") as said:
        file = str(setting_up(directory, pump))
        process = subprocess.Popen(
            [*NAMESPACES, "sh", "-c", PRIVATE, "sh", sys.executable, "-m", "luxcli"],
            env={**os.environ, "COMMAND": COMMAND, "CONFIG": file, "PYTHONPATH": str(PROJECT)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        yield directory
        process.kill()
        process.wait(timeout=10)


def polled(directory: Path) -> list[int]:
    return list(Store(directory / "cache.sqlite3").waiting().polls_ms)


def test_supercronic_polls_on_the_second(cli, supercronic, tmp_path):
    crontab = tmp_path / "crontab"
    with FaultyController(clock=time.time) as pump:
        file = setting_up(tmp_path, pump)
        made = cli("schedule", "supercronic", "--command", COMMAND, "-c", file)
        assert made.status == 0
        crontab.write_text(made.stdout, encoding="utf-8")
        tested = subprocess.run(
            [supercronic, "-test", crontab], check=False, capture_output=True, text=True
        )
        assert tested.returncode == 0
        assert "crontab is valid" in tested.stderr
        process = subprocess.Popen(
            [supercronic, "-no-reap", crontab], stderr=subprocess.PIPE, text=True
        )
        in_time = eventually(lambda: len(polled(tmp_path)) >= 3, within_s=10 + 20 + 5)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert in_time, log
    assert process.returncode == 0
    times = polled(tmp_path)
    assert all(ts_ms / 1000 % 10 < 2 for ts_ms in times)
    assert all(abs(b - a - 10_000) < 1500 for a, b in pairwise(times))
    assert "level=error" not in log


def test_debians_cron_fires_what_was_installed(cron):
    if isinstance(cron, str):
        pytest.skip(cron)
    in_time = eventually(lambda: len(polled(cron)) >= 2, within_s=60 + 10 + 5)
    said = (cron / "said").read_text(encoding="utf-8")
    assert in_time, said
    times = polled(cron)
    assert all(abs(b - a - 10_000) < 300 for a, b in pairwise(times[:6]))
    assert times[0] / 1000 % 60 < 8
    assert said.count("+# BEGIN luxcli\n") == 1
    assert "crontab: nothing to change\n" in said
    assert re.search(r"^\* \* \* \* \* env .* poll-once --every 10 ", said, re.MULTILINE)
