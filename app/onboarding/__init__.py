"""Onboarding and its measures: practice with references, screening, and a survey that nobody can be found in."""
