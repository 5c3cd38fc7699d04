"""What makes passes fast and changes no number: layers, caches, attention within rows, shared prompts, optimizers."""
