"""Trained networks and where each came from."""
