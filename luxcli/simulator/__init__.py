"""A simulated heat pump on a TCP port, driven by recorded data."""
