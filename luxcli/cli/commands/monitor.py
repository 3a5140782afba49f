"""The command ``monitor test``: does it arrive where it is to be told how jobs go?"""

import typer

from luxcli.cli.declare import ConfigOption, JsonOption, LevelOption, epilog, session_of
from luxcli.cli.output import print_json
from luxcli.cli.screen import table
from luxcli.config.monitoring_targets import JOBS
from luxcli.errors import FINDINGS, ConfigError

_STATUSES = "0 all were told; 3 some were not; 78 configuration, or nobody is to be told"
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Be told when it stops.",
    epilog=epilog(_STATUSES, "luxcli monitor test"),
)


@app.callback()
def _group() -> None:
    pass


@app.command("test", epilog=epilog(_STATUSES, "luxcli monitor test"))
def monitor_test(
    ctx: typer.Context,
    config_path: ConfigOption = None,
    log_level: LevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test message to everybody who is to be told how jobs go.

    Healthchecks gets it as an event that changes no state, Uptime Kuma as "up".
    """
    from luxcli.monitoring import channels, monitor

    settings = session_of(ctx).start(config_path, log_level, as_json=as_json)
    if not settings.monitored:
        raise ConfigError(
            [f"{settings.file or 'configuration'}: monitoring: nobody is to be told; set one there"]
        )
    text = "luxcli monitor test: it arrives"
    messages = [
        # News is for all jobs alike; one is enough.
        channels.Message(job=job, event="test", text=text, notice=job == JOBS[0])
        for job in JOBS
    ]
    outcomes = channels.send(settings, *messages, within_s=monitor.TOTAL_S)
    failed = [outcome for outcome in outcomes if outcome.problem]
    if as_json:
        entries = [
            {
                "channel": outcome.channel,
                "job": outcome.jobs,
                "to": outcome.where,
                "problem": outcome.problem,
                "took_ms": round(outcome.took_s * 1000),
            }
            for outcome in outcomes
        ]
        print_json(ok=not failed, channels=entries)
    else:
        table(
            ("channel", "of", "to", "result", "took"),
            [
                (o.channel, o.jobs, o.where, o.problem or "told", f"{o.took_s:.2f} s")
                for o in outcomes
            ],
        )
    if failed:
        raise typer.Exit(FINDINGS)
