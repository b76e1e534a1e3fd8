"""The wire: gRPC, certificates, HTTP. The only place that touches protobuf."""
