"""Chooses the registers that become columns of an export."""

from luxcli.config.config import Config
from luxcli.errors import ConfigError
from luxcli.registers import catalogue
from luxcli.registers.catalogue import Register


def columns(config: Config) -> tuple[Register, ...]:
    """Return the sensor columns of a CSV.

    Raises:
        ConfigError: ``csv.sensors`` names what does not exist.
    """
    try:
        return catalogue.select(config.csv_sensors)
    except ValueError as exc:
        origin = config.origins["csv.sensors"]
        raise ConfigError([f"{origin}: csv.sensors: {exc}"]) from exc
