"""The interface of app and training, without torch: records, events, configs, recipes, intervals, network files."""
