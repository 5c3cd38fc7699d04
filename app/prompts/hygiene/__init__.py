"""Prompt hygiene: detection of personal data, near-duplicates and languages."""
