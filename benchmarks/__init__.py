"""Measures what luxcli costs beside the alternatives: ``python -m benchmarks --help``."""
