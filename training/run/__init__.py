"""What every verb does: read its config and data, keep its run folder, optimize, in one process or several."""
