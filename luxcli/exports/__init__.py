"""Writes stored polls to files in other formats."""
