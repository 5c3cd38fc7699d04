"""Domain-free helpers shared by several features."""
