"""Shared by all pages and REST: authentication, templates, responses, errors, security, Markdown and monitoring."""
