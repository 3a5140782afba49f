"""Writes the daily and weekly CSVs of closed periods."""
