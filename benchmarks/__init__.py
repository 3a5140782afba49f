"""What luxcli costs, beside what one would run instead: ``python -m benchmarks --help``."""
