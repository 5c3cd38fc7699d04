"""One turn of the loop: the plan and its items; draft -> open -> closed."""
