"""What tests stand on: real binaries, a real control plane, a real one-node cluster."""
