"""Which trainers take part in a round: pure functions of seed, round and candidates."""
