"""One pure question a file: has it failed, is there a quorum, is time up, what may be cleaned."""
