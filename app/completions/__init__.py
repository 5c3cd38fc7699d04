"""What a policy wrote for a prompt, with which settings."""
