"""Training runs: the row with its lease, events, progress."""
