"""Completions: what policies wrote for prompts, with the sampling settings."""
