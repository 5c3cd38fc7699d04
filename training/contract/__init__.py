"""What app and training agree on, without torch: records, events, configs, recipes, intervals, files of a network."""
