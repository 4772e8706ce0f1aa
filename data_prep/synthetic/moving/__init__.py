"""The built-in videos: drawn things that move, with exact truth and exact times."""
