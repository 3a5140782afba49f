"""The command `monitor test`: sends a test message to every configured channel."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from luxcli.cli.declare import command, group
from luxcli.cli.options import ConfigOption, JsonOption, LevelOption, epilog
from luxcli.cli.output import print_json
from luxcli.cli.screen import print_table
from luxcli.cli.session import Session
from luxcli.config.monitoring_targets import JOBS
from luxcli.errors import FINDINGS, ConfigError

if TYPE_CHECKING:
    from luxcli.monitoring.messages import Outcome

_STATUSES = "0 all accepted it; 3 some did not; 78 configuration, or no channel is configured"
app = group("Test the notifications.", epilog(_STATUSES, "luxcli monitor test"))


@app.callback()
def _group() -> None:
    pass


@command(app, "test", epilog=epilog(_STATUSES, "luxcli monitor test"))
def monitor_test(
    session: Session,
    *,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Send a test message to every configured channel.

    Healthchecks gets it as an event that changes no state, Uptime Kuma as "up".
    """
    from luxcli.monitoring import channels, messages, monitor

    settings = session.start(config_path, log_level, as_json=as_json)
    if not settings.is_monitored:
        raise ConfigError(
            [
                f"{settings.file or 'configuration'}: monitoring: no notification channel is"
                " configured; set healthchecks_url, uptime_kuma_url, ntfy_url or command"
            ]
        )
    text = "luxcli monitor test: it arrives"
    tests = [
        # ntfy and the command are the same for all jobs: one message is enough.
        messages.Message(job=job, event="test", text=text, to_all=job == JOBS[0])
        for job in JOBS
    ]
    outcomes = channels.send(settings, *tests, within_s=monitor.TOTAL_S)
    result = _Tested(tuple(outcomes))
    if as_json:
        print_json(result.to_json())
    else:
        print_table(("channel", "job", "to", "result", "took"), result.rows())
    return 0 if result.is_ok else FINDINGS


class _Tested(NamedTuple):
    """What became of the test message on each channel."""

    outcomes: "tuple[Outcome, ...]"

    @property
    def is_ok(self) -> bool:
        """Whether every channel accepted the test message."""
        return not any(outcome.problem for outcome in self.outcomes)

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        channels = [
            {
                "channel": outcome.channel,
                "job": _jobs(outcome),
                "to": outcome.where,
                "problem": outcome.problem,
                "took_ms": round(outcome.took_s * 1000),
            }
            for outcome in self.outcomes
        ]
        return {"ok": self.is_ok, "channels": channels}

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a table for a person."""
        for outcome in self.outcomes:
            result, took = outcome.problem or "accepted", f"{outcome.took_s:.2f} s"
            yield outcome.channel, _jobs(outcome), outcome.where, result, took


def _jobs(outcome: "Outcome") -> str:
    """Return the job whose messages go to the channel, or "all"."""
    return outcome.message.job if outcome.is_ping else "all"
