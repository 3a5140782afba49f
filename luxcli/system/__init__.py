"""The machine: durable files, disks, locks, threads, signals, the watchdog and the log."""
