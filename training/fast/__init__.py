"""Faster passes that change no number: layers, caches, attention within rows, shared prompts, optimizers."""
