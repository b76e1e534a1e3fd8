"""`python -m fljob_cli` is `fljob`."""

from fljob_cli.main import main

main()
