"""One shard of the parameter server: staging, folding, versions. numpy only, no torch, no grpc."""
