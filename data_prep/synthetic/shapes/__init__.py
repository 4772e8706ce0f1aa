"""The built-in dataset: drawn scenes with exact truth, so that everything runs with no download."""
