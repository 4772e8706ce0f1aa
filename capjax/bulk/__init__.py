"""Captions of large collections of media, in shards that a stopped job, with any number of processes, continues."""
