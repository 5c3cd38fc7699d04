"""Reward models: rankings as pairs, Eq. 1, how good the scores are [InstructGPT 3.5]."""
