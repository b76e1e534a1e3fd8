"""The commands' options and help, and nothing else: each function imports the work it calls."""
