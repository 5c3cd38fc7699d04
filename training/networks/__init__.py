"""Networks of many families: their config, their dropout, and the form in which each is computed, found by trying."""
