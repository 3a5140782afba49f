"""The command `simulate`: a simulated heat pump."""

import logging
import time
from typing import Annotated

import typer

from luxcli.cli.options import LevelOption, epilog, level_option
from luxcli.cli.output import print_line
from luxcli.cli.session import Session, default_level
from luxcli.errors import Interrupted
from luxcli.system import log_setup

_LOGGER = logging.getLogger(__name__)
EPILOG = epilog(
    "2 the port cannot be used; 130, 143 stopped", "luxcli simulate --port 8889 --speed 60"
)


def simulate(
    _session: Session,
    *,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="TCP port; 0 for any free one.")
    ] = 8889,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="msw6, or long: msw6 with the block lengths of a newer firmware.",
        ),
    ] = "msw6",
    speed: Annotated[
        float,
        typer.Option(metavar="FACTOR", min=0.001, help="How many times faster than real time."),
    ] = 1.0,
    log_level: LevelOption = None,
) -> int:
    """Simulate a heat pump: serve the recorded values of a real controller until stopped."""
    from luxcli.simulator.replay import Replay
    from luxcli.simulator.server import Simulator

    log_setup.set_up(level_option(log_level) or default_level(), "text")
    began = time.time()
    with Simulator(
        Replay(profile),
        host=host,
        port=port,
        clock=lambda: began + (time.time() - began) * speed,
    ) as simulator:
        print_line(
            f"simulating a heat pump on {host}:{simulator.port}; Ctrl-C stops."
            f" Try: LUXCLI_HOST={host} LUXCLI_PORT={simulator.port} luxcli poll-once"
        )
        try:
            simulator.serve_forever()
        except Interrupted:
            _LOGGER.info(
                "%d connections, %d refused writes",
                *(simulator.connections, simulator.write_attempts),
            )
            raise
    return 0
