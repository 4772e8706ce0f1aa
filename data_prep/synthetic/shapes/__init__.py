"""Generated photos: drawn scenes with exact ground truth."""
