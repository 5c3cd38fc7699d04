"""Guideline texts and question forms, both versioned."""
