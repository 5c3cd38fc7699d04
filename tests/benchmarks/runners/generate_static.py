"""The completions of work.json by transformers' generate, its cache made once."""

from runners.generating import generating

generating(cache="static")
