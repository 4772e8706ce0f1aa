"""A config's programs compiled for a TPU slice that nobody here owns, and what the compiler tells of them."""
