"""Named sources of completions: trained models, imported texts, endpoints, people."""
