"""Training jobs: the row with its lease, its events and its progress."""
