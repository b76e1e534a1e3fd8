"""Data of sites: reading, making, splitting and describing it. Nothing here talks to a network."""
