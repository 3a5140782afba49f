"""Keeps polls: the buffer, the database, and what is known about its files."""
