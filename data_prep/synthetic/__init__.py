"""Generated datasets with exact ground truth: drawn scenes (shapes), drawn videos with events (moving), slideshows."""
