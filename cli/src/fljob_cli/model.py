"""`fljob model get`: the trained model out of a run folder or out of a cluster job's checkpoint claim.

Called by `commands.model`. In a cluster the claim outlives the FLJob and carries an annotation per job with the
model's place and digest; a short-lived pod reads it. Nothing is kept that does not match its digest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fljob_api import names
from fljob_api.exit_codes import ExitCode
from fljob_cli import record
from fljob_cli.errors import CliError

if TYPE_CHECKING:
    from fljob_cli.cluster.api import Cluster

_CHUNK = 1 << 20


@dataclass(frozen=True)
class StoredModel:
    """Where a claim keeps the model of a job. `path` is relative to `sub_path` of the volume."""

    claim: str
    uid: str
    path: str
    round: int
    digest: str
    image: str = ""
    sub_path: str = ""

    @classmethod
    def of(cls, claim: str, text: str) -> StoredModel:
        """Read the annotation; raises CliError when it is not what the operator writes."""
        try:
            value = json.loads(text)
            path = str(value["path"])
            found = cls(
                claim=claim,
                uid=str(value["uid"]),
                path=path,
                round=int(value["round"]),
                digest=str(value["digest"]),
                image=str(value.get("image", "")),
                sub_path=str(value.get("subPath", "")),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CliError(
                f"claim {claim}: its model annotation cannot be read: {error}", code=ExitCode.BAD_DATA
            ) from error
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise CliError(f"claim {claim}: the model's path {path} leaves the volume", code=ExitCode.BAD_DATA)
        return found


def get_from_run(run_dir: Path, out: Path) -> None:
    """Copy the model of a local run to `out` and check its digest."""
    run = record.read(run_dir)
    if not run.model:
        raise CliError(
            f"{run_dir}: the run has no finished model (state {run.state})",
            code=ExitCode.BAD_DATA,
            hint="go on with it: fljob run … --run-dir DIR --resume",
        )
    model = Path(run.model)
    if not model.exists():
        raise CliError(f"{model}: the model is gone", code=ExitCode.BAD_DATA)
    keep(model, out, digest=run.model_digest)


def get_from_cluster(cluster: Cluster, job: str, out: Path, *, image: str | None) -> None:
    """Fetch the model of a cluster job to `out` through a reader pod, which is deleted in any case."""
    from fljob_cli.cluster.reader import Reader, Volume  # noqa: PLC0415 - heavy

    present: dict[str, Any] = cluster.find(job) or {}
    uri = present.get("spec", {}).get("checkpoint", {}).get("uri")
    if uri:
        _get_from_store(uri, present, out)
        return
    stored = find(cluster, job)
    chosen = image or stored.image or _image_of(cluster, job)
    sys.stderr.write(f"reading {stored.path} (round {stored.round}) of claim {stored.claim}\n")
    with tempfile.TemporaryDirectory(prefix="fljob-model-") as scratch:
        with Reader(cluster, volume=Volume(stored.claim, stored.sub_path), image=chosen) as reader:
            fetched = reader.fetch(stored.path, Path(scratch))
        keep(fetched, out, digest=stored.digest)


def _get_from_store(uri: str, job: dict[str, Any], out: Path) -> None:
    """Fetch the model of a job that keeps it behind a URI, with the credentials of the caller's environment."""
    from fljob_runtime.checkpoints.remote import Remote  # noqa: PLC0415 - only here
    from fljob_runtime.errors import TransportError  # noqa: PLC0415

    training = job.get("status", {}).get("training") or {}
    path = training.get("modelUri")
    if not path:
        raise CliError(f"{job['metadata']['name']}: has no finished model yet", code=ExitCode.BAD_DATA)
    sys.stderr.write(f"reading {path} (round {training.get('round', 0)}) of {uri}\n")
    with tempfile.TemporaryDirectory(prefix="fljob-model-") as scratch:
        try:
            fetched = Remote(uri, Path(scratch) / "spool").fetch(path)
        except TransportError as error:
            hint = "the store's credentials are taken from this shell's environment"
            raise CliError(str(error), code=ExitCode.CHECKPOINT_UNUSABLE, hint=hint) from error
        keep(fetched, out, digest=str(training.get("modelDigest", "")))


def find(cluster: Cluster, job: str) -> StoredModel:
    """Return the stored model of a job: of the FLJob that is there, else the newest of that name."""
    from fljob_cli.cluster.api import REQUEST_S, errors  # noqa: PLC0415 - heavy

    key = names.ANNOTATION_MODEL.format(job=job)
    with errors(f"claims in {cluster.namespace}"):
        claims = cluster.core.list_namespaced_persistent_volume_claim(
            cluster.namespace, _request_timeout=REQUEST_S
        ).items
    marked = [claim for claim in claims if key in (claim.metadata.annotations or {})]
    marked.sort(key=lambda claim: claim.metadata.creation_timestamp)
    stored = [StoredModel.of(c.metadata.name, c.metadata.annotations[key]) for c in marked]
    if not stored:
        raise CliError(
            f"no claim in {cluster.namespace} holds a model of {job}",
            code=ExitCode.BAD_DATA,
            hint="a job leaves its model on the volume of spec.checkpoint when it has committed a round; "
            "give the --namespace it ran in. Behind a checkpoint.uri it is <uri>/<uid of the job>/model",
        )
    present = cluster.find(job)
    uid = present["metadata"]["uid"] if present else ""
    return next((model for model in stored if model.uid == uid), stored[-1])


def _image_of(cluster: Cluster, job: str) -> str:
    """Return the image that the job's server runs, from its spec or its pods."""
    present: dict[str, Any] = cluster.find(job) or {}
    spec = present.get("spec", {})
    for role in ("server", "coordinator", "trainerTemplate"):
        if spec.get(role, {}).get("image"):
            return str(spec[role]["image"])
    for pod in cluster.pods({names.LABEL_JOB: job}):
        return str(pod.spec.containers[0].image)
    raise CliError(
        f"no pod of {job} is left to take the image from",
        hint="give the runtime image: --image REGISTRY/fljob-runtime:TAG",
    )


def keep(model: Path, out: Path, *, digest: str) -> None:
    """Check the digest of a model (a file, or a folder of files) and copy it under `out`."""
    _check(model, digest)
    out.mkdir(parents=True, exist_ok=True)
    files = [model] if model.is_file() else sorted(path for path in model.rglob("*") if path.is_file())
    for path in files:
        target = out / (path.name if model.is_file() else path.relative_to(model))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        sys.stdout.write(f"{target}\n")


def _check(model: Path, digest: str) -> None:
    wanted = digest.removeprefix("sha256:")
    if not wanted:
        raise CliError(f"{model.name}: there is no digest to check it against", code=ExitCode.BAD_DATA)
    found = sha256(model)
    if found != wanted:
        raise CliError(
            f"{model.name}: its digest is {found}, the job's record says {wanted}",
            code=ExitCode.CHECKPOINT_UNUSABLE,
            hint="the file was changed or cut short; nothing was kept",
        )


def sha256(model: Path) -> str:
    """Return the digest of a file."""
    with model.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
