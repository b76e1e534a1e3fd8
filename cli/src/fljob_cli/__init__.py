"""The `fljob` command: local runs, data, validation, reports, and the cluster side.

Nothing heavy is imported before the command that needs it runs, so that `fljob --help` stays quick.
"""

__version__ = "0.1.0"
