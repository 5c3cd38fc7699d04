"""The prompt bank: write, import, de-duplicate, cap, split, withdraw."""
