"""Faster passes that change no number: layers, caches, attention within rows, shared prompts."""

import os


def is_off() -> bool:
    """Return whether PLAIN=1 asks for transformers' own computation everywhere, to compare with or to find a fault."""
    return os.environ.get("PLAIN") == "1"
