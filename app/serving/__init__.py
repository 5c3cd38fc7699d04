"""Asking networks for text: one client for chat endpoints, and the process that holds trained policies."""
