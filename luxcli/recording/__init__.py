"""Makes the scheduled polls and tells whether recording goes on."""
