"""Reward models: rankings as pairs, the loss of Eq. 1, the quality of the scores [InstructGPT 3.5]."""
