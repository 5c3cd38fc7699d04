"""One ranking of an item's completions, with ratings and flags."""
