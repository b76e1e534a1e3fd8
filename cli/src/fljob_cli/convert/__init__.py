"""Configurations of the systems that people come from, read as FLJobs. One file per system."""
