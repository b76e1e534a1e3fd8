"""Durable versions: shard files, manifests, the finished model. numpy and safetensors only."""
