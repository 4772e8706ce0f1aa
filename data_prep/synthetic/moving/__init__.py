"""Generated videos: drawn things that move, with exact ground truth and exact times."""
