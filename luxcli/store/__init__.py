"""Keeps polls: the journals, the database, and what is known about its files."""
