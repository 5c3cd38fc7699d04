"""Code shared by all verbs: configs and inputs, run folders, the optimizer loop, one process or several."""
