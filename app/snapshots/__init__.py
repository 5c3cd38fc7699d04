"""Frozen, hashed data sets; exports in every format."""
