"""Federated algorithms, numpy only: they take updates and give the next state."""
