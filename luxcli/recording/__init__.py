"""Makes the scheduled polls and reports whether recording goes on."""
