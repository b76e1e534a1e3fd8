"""Many clients of one user each, in one process. Not yet an execution of an FLJob: `fljob reproduce` uses it."""
