"""The machine: durable files, locks, threads, the watchdog and the log."""
