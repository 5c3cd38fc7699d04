"""Training runs: the row with its lease, the supervisor of the child process, events, progress."""
