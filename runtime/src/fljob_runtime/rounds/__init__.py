"""When a round begins, counts and ends: pure functions of events and time. No grpc, no torch, no clock, no files."""
