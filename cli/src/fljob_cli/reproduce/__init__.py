"""`fljob reproduce`: published comparisons, run anew. `tables` says what, `cells` runs it, `show` prints it."""
