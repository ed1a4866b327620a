"""Floor 3: being run. Control socket, data folder, metrics, watching files."""
