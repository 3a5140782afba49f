"""Judges polls and CSVs by rules and scores them."""
