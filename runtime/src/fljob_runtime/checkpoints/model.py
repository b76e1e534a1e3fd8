"""The finished model: all shards' parts of one version in one safetensors file, with what it is in its metadata.

Called by the coordinator at the end, and by the command line for models that it trains by itself. One table is in
memory at a time. Private parameters are not part of a job's: they never left their trainers, and signature.json says
so; nor is what an algorithm keeps beside the model's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fljob_runtime.checkpoints.chain import PartChain, open_chain
from fljob_runtime.checkpoints.files import I64, Tensor, inside, write_atomically, write_safetensors
from fljob_runtime.checkpoints.manifest import Manifest
from fljob_runtime.checkpoints.shard_file import ShardFileName, dense_names
from fljob_runtime.errors import CheckpointError
from fljob_runtime.parameters import Float32Array, Kind, ModelLayout, ModelState, ParamSpec, Scope, unpack_dense
from fljob_runtime.server.placement import dense_range

FORMAT = "fljob-model-1"
MODEL = "model.safetensors"
SIGNATURE = "signature.json"


def assemble_model(root: Path, manifest: Manifest, about: Mapping[str, Any]) -> ShardFileName:
    """Write <uid>/model/model.safetensors and signature.json; return the model's relative path and sha256.

    `about` is added to the signature (job name, model spec, metrics). Raises CheckpointError for a part that
    is torn, foreign or missing, and for a full volume.
    """
    model, tensors = version_tensors(root, manifest)
    # The uid is not in the model's file: the same job gives the same digest wherever it runs.
    folder = f"{manifest.job_uid}/model"
    told = signature(model, manifest.version, about)
    digest = write_model(inside(root, folder), tensors, told, {"jobUid": manifest.job_uid})
    return ShardFileName(f"{folder}/{MODEL}", digest)


def version_tensors(root: Path, manifest: Manifest) -> tuple[ModelLayout, list[Tensor]]:
    """Return the layout of the model's own parameters, and the shared ones of a version; raises CheckpointError."""
    chains = [open_chain(root, file) for file in manifest.files]
    headers = [chain.header for chain in chains]
    for shard, header in enumerate(headers):
        found = (header.job_uid, header.version, header.shard, header.num_shards)
        if found != (manifest.job_uid, manifest.version, shard, manifest.num_shards):
            raise CheckpointError(f"{manifest.files[shard].path}: holds (job, version, shard, shards) {found}")
    layout = headers[0].layout
    if any(header.layout != layout for header in headers):
        raise CheckpointError(f"the shards of version {manifest.version} have different layouts")
    dense = unpack_dense(layout.shared_dense, _whole_dense(chains, layout))
    model = layout.model
    tensors = [Tensor(t.name, t.shape, partial(np.asarray, dense[t.name])) for t in model.shared_dense]
    for spec in model.shared_tables:
        keyed = spec.kind is Kind.KEYED
        tensors += _keyed(chains, spec) if keyed else [Tensor(spec.name, spec.shape, partial(_whole, chains, spec))]
    return model, tensors


def write_model(
    folder: Path, tensors: Sequence[Tensor], told: Mapping[str, Any], beside: Mapping[str, Any] = MappingProxyType({})
) -> str:
    """Write model.safetensors with its signature, and signature.json with what is told beside; return the sha256.

    Raises CheckpointError.
    """
    metadata = {"format": FORMAT, "signature": json.dumps(told, sort_keys=True)}
    digest = write_safetensors(folder / MODEL, tensors, metadata)
    whole = json.dumps({**told, **beside}, sort_keys=True).encode()
    write_atomically(folder / SIGNATURE, lambda file: file.write(whole))
    return digest


def signature(layout: ModelLayout, version: int, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model of a round is."""
    return {
        **about,
        "format": FORMAT,
        "round": version,
        "layout": json.loads(layout.to_json()),
        "privateParameters": [spec.name for spec in layout.specs if spec.scope is Scope.PRIVATE],
    }


def state_tensors(layout: ModelLayout, state: ModelState) -> list[Tensor]:
    """Return a model's values as tensors to write. Rows are all of their table's, ids ascending."""
    tensors = []
    for spec in layout.specs:
        if spec.kind is Kind.DENSE:
            tensors.append(Tensor(spec.name, spec.shape, partial(np.asarray, state.dense[spec.name])))
            continue
        rows = state.rows[spec.name]
        if spec.kind is Kind.KEYED:
            tensors.append(Tensor(f"{spec.name}.ids", rows.ids.shape, partial(np.asarray, rows.ids), I64))
        tensors.append(Tensor(spec.name, rows.values.shape, partial(np.asarray, rows.values)))
    return tensors


def _whole_dense(chains: list[PartChain], layout: ModelLayout) -> Float32Array:
    vector = np.empty(layout.dense_size, np.float32)
    (name,) = dense_names(0)
    for shard, chain in enumerate(chains):
        vector[slice(*dense_range(vector.size, shard, len(chains)))] = chain.dense(name)
    return vector


def _keyed(chains: list[PartChain], spec: ParamSpec) -> list[Tensor]:
    """Return the rows of a keyed table, and as `<name>.ids` whose they are, in order of the ids."""
    ids = np.concatenate([chain.ids(spec) for chain in chains])
    order = np.argsort(ids)

    def values() -> Float32Array:
        return np.concatenate([chain.table(spec, spec.name) for chain in chains])[order]

    return [
        Tensor(f"{spec.name}.ids", ids.shape, partial(np.asarray, ids[order]), I64),
        Tensor(spec.name, (ids.size, spec.dim), values),
    ]


def _whole(chains: list[PartChain], spec: ParamSpec) -> Float32Array:
    if len(chains) == 1:
        return chains[0].table(spec, spec.name)
    values = np.empty(spec.shape, np.float32)
    for chain in chains:
        values[chain.ids(spec)] = chain.table(spec, spec.name)
    return values
