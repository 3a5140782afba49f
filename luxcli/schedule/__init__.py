"""Texts and set-up for cron, systemd and supercronic."""
