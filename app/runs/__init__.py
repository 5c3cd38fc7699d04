"""The supervisor of the training process and the tasks that start it; built on jobs, checkpoints and plans."""
