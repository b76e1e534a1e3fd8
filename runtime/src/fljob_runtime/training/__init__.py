"""Training one client's model on its data, and evaluating it. torch lives here and in models."""
