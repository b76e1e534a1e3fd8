"""Models, one file each; they import nothing of ours but the registry and the parameter types."""
