"""Ahead-of-time compilation of a config's programs for a TPU slice, without a TPU, and reports on them."""
