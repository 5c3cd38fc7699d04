"""Domain-free parts that several features use."""
