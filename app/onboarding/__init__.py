"""Onboarding and its measures: practice with references, screening, and an anonymous survey."""
