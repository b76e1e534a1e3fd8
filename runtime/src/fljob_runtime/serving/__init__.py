"""Models outside of training: their graph for serving, written in three formats, and scored by files or over HTTP."""
