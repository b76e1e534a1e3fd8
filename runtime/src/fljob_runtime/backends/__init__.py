"""Where the three programs of a job run when there is no cluster: `local`. Called by `fljob run`."""
