"""Completions written by labelers."""
