"""The completions of work.json by transformers' generate, its cache growing with each token."""

from runners.generating import generating

generating(cache=None)
