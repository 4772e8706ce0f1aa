"""Word lists of English captions."""
