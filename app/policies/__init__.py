"""Named sources of completions: trained, imported, an endpoint, people."""
