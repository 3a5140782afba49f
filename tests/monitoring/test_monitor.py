"""Notifications as whole commands send them, and that they change nothing about the job."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from luxcli.config import config
from luxcli.config.config import Config
from luxcli.monitoring import channels, monitor, policy
from luxcli.monitoring.messages import Message
from luxcli.monitoring.policy import State
from luxcli.store.store import Store
from tests.conftest import Cli, Ran
from tests.support.builders import replay, small
from tests.support.faulty_controller import Fault, FaultyController, eventually
from tests.support.listener import Listener, listening

TOKEN = "t0p-s3cret"
HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as server:
        yield server


def all_channels(url: str, **more: Any) -> dict[str, Any]:
    """Name one server as every web channel."""
    return {
        "healthchecks_url": f"{url}/{TOKEN}/luxcli-{{job}}",
        "uptime_kuma_url": f"{url}/api/push/{TOKEN}?status=up&msg=OK&ping=",
        "ntfy_url": f"{url}/{TOKEN}-topic",
        **more,
    }


def pings(listener: Listener) -> list[str]:
    """The paths that Healthchecks received, without the token."""
    head = f"/{TOKEN}/luxcli-"
    return [path.removeprefix(head) for path in listener.paths() if path.startswith(head)]


def pushes(listener: Listener) -> list[str]:
    """The states that Uptime Kuma received."""
    return [asked.query["status"] for asked in listener.asked if asked.path.startswith("/api")]


def news(listener: Listener) -> list[str]:
    """The titles that ntfy received."""
    return [asked.document["title"] for asked in listener.asked if asked.path == "/"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def loaded(file: Path) -> Config:
    return config.load(file, {}, file.parent)


def remembered(file: Path) -> dict[str, State]:
    return policy.read(monitor.state_path(loaded(file)))


def remember(file: Path, **changes: Any) -> None:
    """Change the notification state of polls, such as the time of the last notification."""
    states = remembered(file)
    entry = {name: getattr(states["poll"], name) for name in State.__dataclass_fields__}
    policy.write(
        monitor.state_path(loaded(file)), {**states, "poll": State(**{**entry, **changes})}
    )


# A server that never answers costs ten seconds: the other tests run meanwhile.


class Slow(NamedTuple):
    """A process that was begun, and when it ended."""

    process: "subprocess.Popen[str]"
    ended: list[float]
    listener: Listener


@pytest.fixture
def poll_with_a_server_that_hangs(tmp_path: Path) -> Iterator[Slow]:
    directory = tmp_path
    with FaultyController() as pump, listening(hangs=True) as server:
        addresses = all_channels(server.url, command="sleep 60 & sleep 60")
        lines = [f"  {name}: {json.dumps(value)}" for name, value in addresses.items()]
        (directory / "luxcli.yaml").write_text(
            f"host: 127.0.0.1\nport: {pump.port}\ncache_path: c.sqlite3\nmonitoring:\n"
            + "\n".join(lines),
            encoding="utf-8",
        )
        # A failure before, so that the command gets a recovery.
        (directory / "c.sqlite3.monitoring.json").write_text(
            json.dumps(
                {"poll": {"failing_since_ms": 1, "last_event": "failed", "is_delivered": True}}
            ),
            encoding="utf-8",
        )
        commands = Cli(directory)
        process = commands.start("poll-once", "--json")
        ended: list[float] = []

        def watch() -> None:
            process.wait()
            ended.append(time.monotonic())

        threading.Thread(target=watch, daemon=True).start()
        yield Slow(process, ended, server)
        commands.close()


# Polls


def test_a_good_poll_is_reported_as_success_with_its_last_lines(invoke, configure, listener):
    with FaultyController() as pump:
        ran = invoke(
            "poll-once", "-c", configure(port=pump.port, monitoring=all_channels(listener.url))
        )
    assert ran == Ran(0, "", "")
    assert (pings(listener), pushes(listener), news(listener)) == (["poll"], ["up"], [])
    [ping] = [asked for asked in listener.asked if asked.method == "POST"]
    [push] = [asked for asked in listener.asked if asked.method == "GET"]
    assert UUID.fullmatch(ping.query["rid"])
    assert "stored 1634 values of 127.0.0.1" in ping.body.decode()
    assert f"[poll-once {ping.query['rid'][:8]}]" in ping.body.decode()
    assert ping.headers["User-Agent"].startswith("luxcli/")
    assert push.query["msg"].startswith("stored 1634 values")
    assert 0 <= int(push.query["ping"]) < 5000


def test_good_polls_are_reported_no_more_than_every_few_minutes(invoke, configure, listener):
    with FaultyController() as pump:
        file = configure(port=pump.port, monitoring=all_channels(listener.url))
        for _ in range(3):
            invoke("poll-once", "-c", file)
        assert pings(listener) == ["poll"]
        remember(file, last_success_ms=remembered(file)["poll"].last_success_ms - 300_000)
        invoke("poll-once", "-c", file)
    assert (pings(listener), pushes(listener)) == (["poll"] * 2, ["up"] * 2)


def test_a_failure_is_reported_at_once_then_hourly_and_its_end_at_once(invoke, configure, listener):
    closed = free_port()
    addresses = all_channels(listener.url, ntfy_priority=5, ntfy_tags="house", ntfy_token="tk_1")
    file = configure(port=closed, monitoring=addresses)
    for _ in range(2):
        assert invoke("poll-once", "-c", file).status == 69
    assert (pings(listener), pushes(listener)) == (["poll/69"], ["down"])
    [message] = [asked for asked in listener.asked if asked.path == "/"]
    assert message.headers["Authorization"] == "Bearer tk_1"
    assert message.document == {
        "topic": f"{TOKEN}-topic",
        "title": "luxcli: poll failed",
        "message": f"poll failed with status 69: 127.0.0.1:{closed}: connect: connection refused"
        " (gave up after 1 attempt, 0.0 s)",
        "priority": 5,
        "tags": ["warning", "house"],
    }
    remember(file, last_failure_ms=remembered(file)["poll"].last_failure_ms - HOUR_MS)
    invoke("poll-once", "-c", file)
    assert pings(listener) == ["poll/69"] * 2
    with FaultyController(port=closed):
        for _ in range(2):
            assert invoke("poll-once", "-c", file) == Ran(0, "", "")
    assert pings(listener) == ["poll/69"] * 2 + ["poll"]
    assert pushes(listener) == ["down", "down", "up"]
    assert news(listener) == ["luxcli: poll failed"] * 2 + ["luxcli: poll recovered"]
    texts = [asked.document["message"] for asked in listener.asked if asked.path == "/"]
    assert re.fullmatch(r"poll works again after \d+ s", texts[-1])


def test_polls_that_fail_at_the_same_time_are_reported_once(cli, configure, listener):
    file = configure(port=free_port(), monitoring=all_channels(listener.url))
    started = [cli.start("poll-once", "-c", file) for _ in range(4)]
    assert {cli.end(process).status for process in started} <= {69, 75}
    assert (pings(listener), news(listener)) == (["poll/69"], ["luxcli: poll failed"])
    assert remembered(file)["poll"].is_delivered


def test_a_poll_that_finds_the_heat_pump_busy_is_no_failure(invoke, configure, listener):
    with FaultyController(Fault(status=1)) as pump:
        file = configure(port=pump.port, monitoring=all_channels(listener.url))
        assert invoke("poll-once", "-c", file).status == 75
    assert listener.asked == []


def test_an_interrupted_poll_is_reported_and_keeps_its_status(cli, configure, listener):
    with FaultyController(Fault(silent_after=0)) as pump:
        file = configure(port=pump.port, timeout_sec=60, monitoring=all_channels(listener.url))
        process = cli.start("poll-once", "-c", file)
        assert eventually(lambda: pump.requests)
        process.send_signal(signal.SIGTERM)
        assert cli.end(process, within_s=4) == Ran(143, "", "")
    assert pings(listener) == ["poll/143"]


def test_after_an_interrupt_a_hanging_server_delays_the_end_by_three_seconds_at_most(
    cli, configure
):
    with FaultyController(Fault(silent_after=0)) as pump, listening(hangs=True) as server:
        file = configure(port=pump.port, timeout_sec=60, monitoring=all_channels(server.url))
        process = cli.start("poll-once", "-c", file)
        assert eventually(lambda: pump.requests)
        process.send_signal(signal.SIGTERM)
        ran = cli.end(process, within_s=4)
    assert (ran.status, ran.stdout) == (143, "")
    assert "healthchecks (127.0.0.1): no answer within 2." in ran.stderr


def test_an_interrupt_while_notifications_are_sent_ends_them_and_changes_nothing(cli, configure):
    with FaultyController() as pump, listening(hangs=True) as server:
        file = configure(port=pump.port, monitoring=all_channels(server.url))
        process = cli.start("poll-once", "-c", file)
        assert eventually(lambda: len(server.asked) == 2)
        process.send_signal(signal.SIGTERM)
        assert cli.end(process, within_s=1) == Ran(0, "", "")
    assert len(stored(file)) == 1


def stored(file: Path) -> list[Any]:
    store = Store(loaded(file).cache_path)
    store.flush()
    return list(store.query(0, 2**62))


IDLE = """
import typer
from pathlib import Path
from luxcli import __main__
from luxcli.cli import app as cli, declare as console

@cli.app.command("idle", hidden=True)
def idle(ctx: typer.Context) -> None:
    session = console.session_of(ctx)
    session.start(Path("luxcli.yaml"), None, job="poll")
    session.suppress_notification()

__main__.main()
"""


def test_a_run_that_had_nothing_to_do_is_no_sign_that_all_is_well(
    cli, configure, listener, tmp_path
):
    file = configure(port=free_port(), monitoring=all_channels(listener.url))
    cli("poll-once", "-c", file)
    done = subprocess.run(
        [sys.executable, "-c", IDLE, "idle"], env=cli.environment(), cwd=tmp_path, check=True
    )
    assert done.returncode == 0
    assert pings(listener) == ["poll/69"]


# Roll-ups and prune


def test_roll_ups_and_prune_are_reported_at_start_and_end(invoke, configure, listener):
    file = configure(monitoring=all_channels(listener.url))
    assert invoke("rollup", "daily", "-c", file).status == 0
    assert invoke("rollup", "daily", "--date", "2020-01-01", "-c", file).status == 65
    prune = invoke("prune", "-c", file)
    assert prune.status == 0
    assert pings(listener) == [
        *("rollup/start", "rollup", "rollup/start", "rollup/65", "prune/start", "prune"),
    ]
    runs = [asked.query["rid"] for asked in listener.asked if "rid" in asked.query]
    assert [runs.count(run) for run in runs] == [2] * 6
    assert pushes(listener) == []  # one address without a job in it is for polls
    assert news(listener) == ["luxcli: rollup failed"]


def test_a_failure_of_a_roll_up_goes_to_ntfy_once_an_hour_but_each_run_is_pinged(
    invoke, configure, listener
):
    file = configure(monitoring=all_channels(listener.url))
    for _ in range(2):
        invoke("rollup", "daily", "--date", "2020-01-01", "-c", file)
    assert pings(listener) == ["rollup/start", "rollup/65"] * 2
    assert news(listener) == ["luxcli: rollup failed"]


def test_an_address_may_be_named_for_each_job(invoke, configure, listener):
    several = f"rollup={listener.url}/r prune={listener.url}/p?create=1"
    file = configure(port=free_port(), monitoring={"healthchecks_url": several})
    invoke("poll-once", "-c", file)
    invoke("rollup", "all", "-c", file)
    invoke("prune", "-c", file)
    assert listener.paths() == ["/r/start", "/r", "/p/start", "/p"]
    assert listener.asked[-1].query["create"] == "1"


def test_only_the_chosen_jobs_and_events_are_reported(invoke, configure, listener):
    chosen = all_channels(listener.url, jobs="poll", events="recovered")
    file = configure(port=free_port(), monitoring=chosen)
    invoke("poll-once", "-c", file)
    invoke("rollup", "daily", "-c", file)
    assert (pings(listener), pushes(listener), news(listener)) == (["poll/69"], ["down"], [])


# Staleness


def test_polls_that_stopped_are_noticed_by_whatever_still_runs(invoke, configure, listener):
    with FaultyController(clock=time.time) as pump:
        file = configure(port=pump.port, monitoring=all_channels(listener.url, stale_after="20m"))
        settings = loaded(file)
        settings.cache_path.parent.mkdir(parents=True)
        ago_ms = round(time.time() * 1000) - 25 * 60_000
        Store(settings.cache_path).add(ago_ms, replay("msw6").at(ago_ms / 1000))
        for _ in range(2):
            invoke("prune", "-c", file)
        assert pings(listener)[0] == "prune/start"
        assert sorted(pings(listener)[1:3]) == ["poll/fail", "prune"]
        assert pings(listener).count("poll/fail") == 1
        assert news(listener) == ["luxcli: poll stale"]
        [stale] = [asked for asked in listener.asked if asked.path == "/"]
        assert stale.document["message"] == "no good poll for 25 min"
        assert invoke("poll-once", "-c", file) == Ran(0, "", "")
    assert news(listener) == ["luxcli: poll stale", "luxcli: poll recovered"]
    assert pushes(listener) == ["down", "up"]


def test_polls_that_fail_for_long_are_stale_as_well(invoke, configure, listener):
    file = configure(port=free_port(), monitoring=all_channels(listener.url, events="stale"))
    settings = loaded(file)
    settings.cache_path.parent.mkdir(parents=True)
    ago_ms = round(time.time() * 1000) - 31 * 60_000
    Store(settings.cache_path).add(ago_ms, small(ago_ms))
    for _ in range(3):
        invoke("poll-once", "-c", file)
    assert pings(listener) == ["poll/69", "poll/fail"]
    assert news(listener) == ["luxcli: poll stale"]


# The rules


def outcomes_over(statuses: Sequence[int], file: Path, *, every_s: int) -> None:
    """End polls that are `every_s` apart with these statuses."""
    loaded(file).cache_path.parent.mkdir()
    for number, status in enumerate(statuses):
        now_ms = NOW_MS + number * every_s * 1000
        monitor.RunReport(loaded(file), "poll", "00000000", now_ms).end(status, "", "", now_ms)


def test_polls_that_fail_now_and_then_are_reported_once_an_hour(configure, listener):
    file = configure(port=1, monitoring=all_channels(listener.url))
    outcomes_over([69, 0, 0] * 8, file, every_s=300)  # two hours
    once = ["luxcli: poll failed", "luxcli: poll recovered"]
    assert news(listener) == once * 2
    assert pushes(listener).count("down") == 2
    assert pushes(listener).count("up") == 16  # successes go on every five minutes


def test_a_new_failure_that_lasts_is_reported_within_the_hour(configure, listener):
    file = configure(port=1, monitoring=all_channels(listener.url))
    outcomes_over([69, 0] + [69] * 12 + [0], file, every_s=60)
    assert news(listener) == ["luxcli: poll failed", "luxcli: poll recovered"] * 2
    assert pushes(listener) == ["down", "up", "down", "up"]
    last = [asked for asked in listener.asked if asked.path == "/"][-1]
    assert last.document["message"] == "poll works again after 12 min"


def test_a_refused_notification_is_a_warning_that_names_the_host(invoke, configure):
    closed, server = free_port(), free_port()
    file = configure(port=closed, monitoring=all_channels(f"http://127.0.0.1:{server}"))
    ran = invoke("poll-once", "-c", file)
    assert ran.status == 69
    assert "healthchecks (127.0.0.1): Connection refused" in ran.stderr
    assert not remembered(file)["poll"].is_delivered


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "",
        "{",
        "[]",
        '{"poll": 1}',
        '{"poll": {"failing_since_ms": "x", "is_delivered": 2, "other": 1}}',
    ],
)
def test_a_damaged_state_file_counts_as_no_state(text, tmp_path):
    path = tmp_path / "state.json"
    path.write_text(text, encoding="utf-8")
    assert policy.read(path).get("poll", State()) == State()


def test_a_state_file_of_an_older_version_is_replaced(configure, listener):
    file = configure(port=1, monitoring=all_channels(listener.url))
    path = monitor.state_path(loaded(file))
    path.parent.mkdir()
    older = {"since_ms": 1, "stale": True, "quiet": False, "told": True, "notice_ms": NOW_MS}
    path.write_text(json.dumps({"poll": older}), encoding="utf-8")
    monitor.RunReport(loaded(file), "poll", "00000000", NOW_MS).end(69, "", "", NOW_MS)
    assert news(listener) == ["luxcli: poll failed"]
    assert remembered(file)["poll"] == State(NOW_MS, "failed", True, NOW_MS)


def test_a_temporary_file_that_a_killed_poll_left_is_used_up_by_the_next_one(configure, listener):
    file = configure(port=1, monitoring=all_channels(listener.url))
    path = monitor.state_path(loaded(file))
    path.parent.mkdir()
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_text("mine", encoding="utf-8")
    path.with_name(f".{path.name}.tmp").symlink_to(elsewhere)
    monitor.RunReport(loaded(file), "poll", "00000000", NOW_MS).end(0, "", "", NOW_MS)
    assert remembered(file)["poll"].last_success_ms == NOW_MS
    assert elsewhere.read_text(encoding="utf-8") == "mine"
    names = {entry.name for entry in path.parent.iterdir()}
    assert names == {"elsewhere", path.name, f"{path.name}.lock"}


@pytest.mark.parametrize(
    ("begins_ms", "every_ms", "takes_ms", "times"),
    [(300, 60_000, 30_600, 1), (17_000, 60_000, 30_600, 1), (300, 30_000, 100, 2)],
    ids=["cron", "a NAS", "systemd"],
)
def test_without_a_state_file_polls_report_in_the_first_minute_of_an_hour(
    configure, listener, begins_ms, every_ms, takes_ms, times
):
    file = configure(monitoring=all_channels(listener.url))
    settings = loaded(file)
    monitor.state_path(settings).mkdir(parents=True)  # so that no file can be put there
    for at_ms in range(NOW_MS + begins_ms, NOW_MS + 2 * HOUR_MS, every_ms):
        report = monitor.RunReport(settings, "poll", "0a1b2c3d", at_ms)
        report.end(69, "refused", "", at_ms + takes_ms)
    assert pings(listener) == ["poll/69"] * 2 * times


# Notifications change nothing about the job


@pytest.mark.slow
@pytest.mark.timeout(30)
def test_a_server_that_never_answers_costs_ten_seconds_and_changes_nothing(
    poll_with_a_server_that_hangs,
):
    slow = poll_with_a_server_that_hangs
    stdout, stderr = slow.process.communicate(timeout=20)
    assert eventually(lambda: slow.ended)
    assert slow.process.returncode == 0
    assert json.loads(stdout)["ok"] is True
    assert len(slow.listener.asked) == 3
    assert 8 < slow.ended[0] - slow.listener.asked[0].at <= 10
    [line] = stderr.splitlines()
    assert " WARNING [poll-once " in line
    for channel in ("healthchecks", "uptime_kuma", "ntfy"):
        assert re.search(rf"{channel} \(127\.0\.0\.1\): no answer within (9\.\d|8\.[5-9]) s", line)
    assert "command (shell): killed after " in line
    assert TOKEN not in line


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        ({"status": 500}, "HTTP status 500"),
        ({"status": 404}, "HTTP status 404"),
        (
            {"status": 302, "location": f"/elsewhere/{TOKEN}"},
            "HTTP status 302 (the address has moved; set the new one)",
        ),
        (
            {"status": 308, "location": f"/elsewhere/{TOKEN}"},
            "HTTP status 308 (the address has moved; set the new one)",
        ),
    ],
)
def test_a_server_that_refuses_is_one_warning_and_no_redirect_is_followed(
    invoke, configure, behaviour, problem
):
    with listening(**behaviour) as server, FaultyController() as pump:
        ran = invoke(
            "poll-once", "-c", configure(port=pump.port, monitoring=all_channels(server.url))
        )
        assert len(server.asked) == 2
    assert (ran.status, ran.stdout) == (0, "")
    [line] = ran.stderr.splitlines()
    assert line.endswith(
        f"monitoring: healthchecks (127.0.0.1): {problem}; uptime_kuma (127.0.0.1): {problem}"
    )
    assert TOKEN not in ran.stderr


@pytest.mark.parametrize("answer", [b"OK (not found)", b"OK (rate limited)", b'{"ok": false}'])
def test_an_answer_that_only_looks_like_success_is_a_problem(configure, answer):
    with listening(answer=answer) as server:
        settings = loaded(configure(monitoring=all_channels(server.url)))
        outcomes = channels.send(settings, Message(job="poll", event="test"), within_s=5)
    refusing = "uptime_kuma" if b"{" in answer else "healthchecks"
    assert [o.channel for o in outcomes if o.problem] == [refusing]


def test_an_answer_without_end_is_cut_off(configure):
    with listening(trickles=True) as server:
        settings = loaded(configure(monitoring=all_channels(server.url)))
        began = time.monotonic()
        outcomes = channels.send(settings, Message(job="poll", event="test"), within_s=0.5)
        assert time.monotonic() - began < 1
    assert {outcome.problem for outcome in outcomes} == {"no answer within 0.5 s"}


def test_a_host_that_does_not_exist_is_a_problem_without_the_address(configure):
    settings = loaded(configure(monitoring=all_channels(f"http://no-such-host.invalid/{TOKEN}")))
    [*outcomes] = channels.send(settings, Message(job="poll", event="test"), within_s=5)
    assert len(outcomes) == 3
    assert all(outcome.problem for outcome in outcomes)
    assert TOKEN not in "".join(map(str, outcomes))


def test_a_password_in_an_address_is_sent_as_a_header(configure, listener):
    url = listener.url.replace("//", f"//owner:{TOKEN}@")
    settings = loaded(configure(monitoring={"healthchecks_url": f"{url}/ping"}))
    [outcome] = channels.send(settings, Message(job="poll", event="success"), within_s=5)
    assert outcome.problem is None
    assert (outcome.where, listener.asked[0].target) == ("127.0.0.1", "/ping")
    assert listener.asked[0].headers["Authorization"].startswith("Basic ")


def test_a_message_with_bytes_that_are_not_text_is_sent(configure, listener):
    file = configure(monitoring=all_channels(listener.url))
    undecodable = os.fsdecode(b"/w\xe4rme: disk full")
    loaded(file).cache_path.parent.mkdir()
    monitor.RunReport(loaded(file), "poll", "0a1b2c3d", NOW_MS).end(
        74, undecodable, undecodable, NOW_MS
    )
    assert (pings(listener), pushes(listener)) == (["poll/74"], ["down"])
    [message] = [asked.document["message"] for asked in listener.asked if asked.path == "/"]
    assert message == r"poll failed with status 74: /w\udce4rme: disk full"


def test_of_a_long_output_the_end_is_sent(configure, listener):
    settings = loaded(configure(monitoring={"healthchecks_url": f"{listener.url}/ping"}))
    long = Message(job="poll", event="failed", status=1, output="ä" * 20_000, text="the end")
    channels.send(settings, long, within_s=5)
    body = listener.asked[0].body.decode()
    assert body.startswith("...\n")
    assert body.endswith("ää\nthe end")
    assert 9_000 < len(body.encode()) <= 10_000


# The command


def test_the_command_gets_its_environment_and_may_call_luxcli(invoke, configure, tmp_path):
    seen = tmp_path / "seen"
    python = f"{shlex.quote(sys.executable)} -m luxcli"
    closed = free_port()
    file = configure(
        port=closed,
        monitoring={
            "command": f"env | grep ^LUXCLI_ | grep -v _SYSTEM_ > {seen};"
            f" {python} status -c {tmp_path}/luxcli.yaml > {seen}.2 2>&1;"
            " echo noise; echo noise >&2; exit 3"
        },
    )
    ran = invoke("poll-once", "-c", file)
    assert (ran.status, ran.stdout) == (69, "")
    assert "noise" not in ran.stderr
    assert "command (shell): ended with status 3" in ran.stderr
    assert set(seen.read_text().splitlines()) == {
        "LUXCLI_JOB=poll",
        "LUXCLI_EVENT=failed",
        "LUXCLI_STATUS=69",
        f"LUXCLI_MESSAGE=poll failed with status 69: 127.0.0.1:{closed}: connect: connection"
        " refused (gave up after 1 attempt, 0.0 s)",
    }
    assert seen.with_name("seen.2").read_text().startswith("not recording")


def test_a_command_that_hangs_is_killed_with_all_it_started(configure, tmp_path):
    pids = tmp_path / "pids"
    command = f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; sleep 60"
    settings = loaded(configure(monitoring={"command": command}))
    began = time.monotonic()
    [outcome] = channels.send(settings, Message(job="poll", event="failed"), within_s=1.2)
    assert time.monotonic() - began < 1.6
    assert re.fullmatch(r"killed after 0\.[67] s", outcome.problem or "")
    for pid in pids.read_text().split():
        assert eventually(lambda pid=pid: not runs(pid))


def test_the_command_can_be_stopped_as_usual(configure, tmp_path):
    command = f"kill -TERM $$; echo still here > {tmp_path}/still"
    settings = loaded(configure(monitoring={"command": command}))
    [outcome] = channels.send(settings, Message(job="poll", event="failed"), within_s=5)
    assert outcome.problem == "ended with status -15"
    assert not (tmp_path / "still").exists()


def runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] not in {"Z", "X"}
    except OSError:
        return False


def test_a_command_that_is_not_there_is_a_problem(configure):
    settings = loaded(configure(monitoring={"command": ["/no/such/program", TOKEN]}))
    [outcome] = channels.send(settings, Message(job="prune", event="failed"), within_s=5)
    assert str(outcome) == "command (program): cannot be started: No such file or directory"


# monitor test


def test_monitor_test_shows_the_result_of_each_channel(invoke, configure, listener, tmp_path):
    chosen = all_channels(listener.url, command=f"echo $LUXCLI_EVENT >> {tmp_path}/seen")
    ran = invoke("monitor", "test", "-c", configure(monitoring=chosen))
    assert (ran.status, ran.stderr) == (0, "")
    rows = [line.split("\t")[:4] for line in ran.stdout.splitlines()[1:]]
    assert sorted(rows) == [
        ["command", "all", "shell", "accepted"],
        ["healthchecks", "poll", "127.0.0.1", "accepted"],
        ["healthchecks", "prune", "127.0.0.1", "accepted"],
        ["healthchecks", "rollup", "127.0.0.1", "accepted"],
        ["ntfy", "all", "127.0.0.1", "accepted"],
        ["uptime_kuma", "poll", "127.0.0.1", "accepted"],
    ]
    assert sorted(pings(listener)) == ["poll/log", "prune/log", "rollup/log"]
    assert (pushes(listener), news(listener)) == (["up"], ["luxcli: poll test"])
    assert (tmp_path / "seen").read_text() == "test\n"


def test_monitor_test_ends_with_3_when_one_was_not_reached(invoke, configure, listener):
    chosen = all_channels(listener.url, ntfy_url=f"http://127.0.0.1:{free_port()}/{TOKEN}")
    ran = invoke("monitor", "test", "--json", "-c", configure(monitoring=chosen))
    document = json.loads(ran.stdout)
    assert (ran.status, document["ok"], ran.stderr) == (3, False, "")
    problems = {(entry["channel"], entry["problem"]) for entry in document["channels"]}
    assert ("ntfy", "Connection refused") in problems
    assert ("uptime_kuma", None) in problems


def test_monitor_test_without_a_channel_says_so(invoke, configure):
    file = configure()
    ran = invoke("monitor", "test", "-c", file)
    assert (ran.status, ran.stdout) == (78, "")
    assert ran.stderr == (
        f"luxcli: {file}: monitoring: no notification channel is configured; set healthchecks_url,"
        " uptime_kuma_url, ntfy_url or command\n"
    )


# Secrets


def test_a_secret_may_be_in_a_file(invoke, configure, listener, tmp_path):
    for name in ("healthchecks_url", "uptime_kuma_url", "ntfy_url"):
        (tmp_path / name).write_text(all_channels(listener.url)[name] + "\n", encoding="utf-8")
    (tmp_path / "token").write_text("tk_file\n", encoding="utf-8")
    file = configure(
        port=free_port(),
        monitoring={"healthchecks_url_file": "healthchecks_url", "ntfy_token_file": "token"},
    )
    environ = {
        "LUXCLI_MONITORING_UPTIME_KUMA_URL_FILE": str(tmp_path / "uptime_kuma_url"),
        "LUXCLI_MONITORING_NTFY_URL_FILE": str(tmp_path / "ntfy_url"),
    }
    ran = invoke("poll-once", "-c", file, env=environ)
    assert (ran.status, ran.stdout) == (69, "")
    assert (pings(listener), pushes(listener)) == (["poll/69"], ["down"])
    [message] = [asked for asked in listener.asked if asked.path == "/"]
    assert message.headers["Authorization"] == "Bearer tk_file"


def test_a_secret_file_that_cannot_be_used_is_a_warning_and_an_error_of_config_check(
    invoke, configure, tmp_path
):
    (tmp_path / "topic").write_text(f"{TOKEN}\n", encoding="utf-8")
    files = {"healthchecks_url_file": "missing", "ntfy_url_file": "topic"}
    with FaultyController() as pump:
        file = configure(port=pump.port, monitoring=files)
        ran = invoke("poll-once", "-c", file)
    missing = f"{tmp_path}/missing: cannot be read: No such file or directory"
    assert (ran.status, ran.stdout) == (0, "")
    assert ran.stderr.endswith(f"monitoring: healthchecks (its file): {missing}\n")
    checked = invoke("config", "check", "-c", file)
    assert (checked.status, checked.stdout) == (74, "")
    assert checked.stderr == (
        f"luxcli: {missing}\n"
        f"luxcli: {tmp_path}/topic: is not a web address like https://example.org/...\n"
    )


def test_nothing_that_luxcli_says_holds_a_secret(invoke, configure, tmp_path):
    secrets = all_channels(
        f"http://127.0.0.1:{free_port()}", ntfy_token=TOKEN, command=["/bin/false", TOKEN]
    )
    file = configure(port=free_port(), log_file="all.log", log_level="DEBUG", monitoring=secrets)
    said = [
        invoke(*command, "-c", file)
        for command in (
            ["poll-once"],
            ["poll-once", "--json"],
            ["rollup", "daily"],
            ["monitor", "test"],
            ["monitor", "test", "--json"],
            ["config", "show"],
            ["config", "show", "--json"],
            ["config", "check"],
            ["diagnose", "--offline", "--json", "--bundle", tmp_path / "b.zip"],
        )
    ]
    shown = unzipped(tmp_path / "b.zip")
    everything = [text for ran in said for text in ran[1:]]
    everything += [shown, (tmp_path / "all.log").read_text(encoding="utf-8")]
    everything += [monitor.state_path(loaded(file)).read_text(encoding="utf-8")]
    everything.append(repr(loaded(file)))
    assert "monitoring: healthchecks (127.0.0.1): Connection refused" in "".join(everything)
    assert "monitoring.ntfy_url\t(hidden)\t" in said[5].stdout
    assert TOKEN not in "".join(everything)


def unzipped(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return "".join(archive.read(name).decode() for name in archive.namelist())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("healthchecks_url", TOKEN),
        ("healthchecks_url", f"ftp://host/{TOKEN}"),
        ("healthchecks_url", f"https://host/{TOKEN} x"),
        ("healthchecks_url", f"https://host:99999/{TOKEN}"),
        ("healthchecks_url", f"poll=https://host/{TOKEN} poll=https://host/b"),
        ("healthchecks_url", {"poll-once": f"https://host/{TOKEN}"}),
        ("uptime_kuma_url", [f"https://host/{TOKEN}"]),
        ("ntfy_url", "https://ntfy.sh"),
        ("ntfy_token", f"{TOKEN} {TOKEN}"),
        ("command", {TOKEN: TOKEN}),
        ("command", [" ", TOKEN]),
        ("jobs", "poll,sleep"),
        ("events", "success"),
        ("ping_every", "often"),
        ("stale_after", "0"),
    ],
)
def test_a_wrong_setting_is_one_line_that_does_not_repeat_a_secret(invoke, configure, key, value):
    ran = invoke("config", "check", "-c", configure(monitoring={key: value}))
    assert (ran.status, ran.stdout) == (78, "")
    [line] = ran.stderr.splitlines()
    assert f": monitoring.{key}: " in line
    assert TOKEN not in line


# Start-up


def test_without_monitoring_nothing_of_it_is_imported(cli, configure):
    code = (
        "import sys\n"
        "from luxcli.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    print(*sorted(sys.modules), file=sys.stderr)\n"
    )

    def imported(file: Path) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, "poll-once", "-c", file],
            capture_output=True,
            text=True,
            env=cli.environment(),
            check=True,
        )
        return set(done.stderr.split())

    unwanted = {
        *(
            "luxcli.monitoring.monitor",
            "luxcli.monitoring.channels",
            "luxcli.monitoring.policy",
        ),
        *("urllib.request", "http.client", "ssl", "email"),
    }
    with FaultyController() as pump, listening() as server:
        assert imported(configure(port=pump.port)) & unwanted == set()
        chosen = all_channels(server.url)
        assert "luxcli.monitoring.channels" in imported(
            configure(port=pump.port, monitoring=chosen)
        )
        # Nor is a web client, while nothing is sent.
        again = imported(configure(port=pump.port, monitoring=chosen))
        assert again & {"luxcli.monitoring.channels", "urllib.request"} == set()
