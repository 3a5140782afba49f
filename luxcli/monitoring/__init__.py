"""Sends notifications about finished jobs."""
