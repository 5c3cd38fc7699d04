"""Prompt hygiene: what in a prompt names a person, which prompts say the same, and in which language."""
