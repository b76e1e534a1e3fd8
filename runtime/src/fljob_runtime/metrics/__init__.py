"""Metrics as sums that merge and ratios that are computed last. numpy only."""
