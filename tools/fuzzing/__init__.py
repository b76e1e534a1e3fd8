"""Targets of `make fuzz`, and the process that feeds one of them. Used by tools/fuzz.py and its tests."""
