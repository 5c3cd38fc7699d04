"""Text from networks: a client for chat endpoints, and the process that keeps trained policies in memory."""
