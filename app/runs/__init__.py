"""The supervisor of the process that trains, and the tasks that start one: above jobs, checkpoints and plans."""
