"""Trained models and their lineage."""
