"""What labelers are told and asked: guideline text and question forms, both by version."""
