"""Prompts that labelers write: calls for them, drafts, and the prompts and demonstrations that drafts become."""
