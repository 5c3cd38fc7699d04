"""Simulated labelers who work over REST."""
