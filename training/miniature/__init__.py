"""The miniature world: instructions whose answers can be checked by rule, their rubric, and a readable set."""
