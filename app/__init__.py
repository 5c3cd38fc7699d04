"""The web application: people write, rank and rate; admins run rounds and training jobs. It never loads torch."""
