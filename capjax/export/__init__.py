"""Export of a trained model: a TensorFlow SavedModel, and StableHLO programs for JAX alone."""
