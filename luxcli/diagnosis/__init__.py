"""Examines the whole installation and says what is wrong and what to do."""
