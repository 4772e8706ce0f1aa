"""A trained workdir to what serves without it: a TensorFlow SavedModel, and StableHLO for those without TensorFlow."""
