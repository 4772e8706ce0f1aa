"""The files that a run leaves on disk: layout, configuration, checkpoints and metrics."""
