"""The desk: an overview of the day and one task at a time, for the three kinds of answers; pages and REST."""
