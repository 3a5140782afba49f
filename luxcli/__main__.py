"""Entry point of ``luxcli`` and ``python -m luxcli``."""

import signal
from types import FrameType

from luxcli.errors import Interrupted


def _interrupt(signum: int, _frame: FrameType | None) -> None:
    # A second signal must not cut short what the first one started.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Interrupted(signum)


def main() -> None:
    """Run one command and exit with its status."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        from luxcli.cli import app

        app()
    except Interrupted as exc:
        raise SystemExit(128 + exc.signum) from None


if __name__ == "__main__":
    main()
