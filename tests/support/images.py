"""Builds the images from the real Dockerfiles by buildah and pushes them to a registry on loopback.

    python -m support.images [REGISTRY]     (from tests/) builds operator and runtime; pushes where a registry is given
    python -m support.images --scorer       builds the scorer's, which no job needs

The base image is made by debootstrap once and committed under the name that the Dockerfiles' FROM has, so that the same
files build with a public registry. An image is built again only when what goes into it has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.assets import CACHE

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
ROOMS = {"operator": ("api", "operator"), "runtime": ("api", "runtime")}
SCORER = ("api", "runtime")
BUILD_DEADLINE_S = 1800
UNNEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")


class ImageError(RuntimeError):
    """A build or push failed; the message has the end of its output."""


@dataclass(frozen=True)
class Images:
    """References that the cluster can pull."""

    operator: str
    runtime: str


def build_scorer() -> str:
    """Build the scorer's image if what goes into it has changed; returns its reference in the local storage."""
    with _alone():
        return _built("scorer", SCORER)


@contextmanager
def container_command(image: str, volume: tuple[Path, str], *command: str) -> Iterator[list[str]]:
    """Yield the line that runs a command in a container of its own, as the image's user, on this host's network."""
    container = _buildah("from", "--pull=never", image).strip()
    try:
        yield _command("run", "--volume", f"{volume[0]}:{volume[1]}:ro", container, "--", *command)
    finally:
        _buildah("rm", container)


def build(registry: str = "") -> Images:
    """Build what has changed and push both images; returns their references. A second caller waits for the first.

    Without a registry they are built only: a later call has little left to do.
    """
    with _alone():
        return _build_and_push(registry)


@contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_and_push(registry: str) -> Images:
    references = {}
    for name, rooms in ROOMS.items():
        local = _built(name, rooms)
        references[name] = f"{registry}/{local.partition('/')[2]}" if registry else local
        if registry:
            _buildah("push", "--tls-verify=false", "--disable-compression", local, f"docker://{references[name]}")
    return Images(**references)


def _built(name: str, rooms: tuple[str, ...]) -> str:
    """Return the local reference of an image, built unless it is there."""
    local = f"localhost/fljob-{name}:{_digest(name, rooms)}"
    if not _exists(local):
        _ensure_base()
        _build(name, local)
    return local


def _digest(name: str, rooms: tuple[str, ...]) -> str:
    """Return a digest over everything that goes into the image."""
    digest = hashlib.sha256()
    for path in _inputs(name, rooms):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _inputs(name: str, rooms: tuple[str, ...]) -> Iterable[Path]:
    yield ROOT / "constraints.txt"
    yield ROOT / "images" / "requirements.py"
    yield ROOT / "images" / name / "Dockerfile"
    for room in rooms:
        yield ROOT / room / "pyproject.toml"
        sources = (p for p in (ROOT / room / "src").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        yield from sorted(p for p in sources if ".egg-info" not in str(p))


def _build(name: str, reference: str) -> None:
    arguments, volumes = [], []
    links = _pip_setting("find-links")
    if links and Path(links).is_dir():
        volumes += ["--volume", f"{links}:/wheels:ro"]
        arguments += ["--build-arg", "PIP_FIND_LINKS=/wheels"]
    authority = _pip_setting("cert") or os.environ.get("SSL_CERT_FILE", "")
    if authority:
        volumes += ["--volume", f"{authority}:/ca.crt:ro"]
        arguments += ["--build-arg", "PIP_CERT=/ca.crt"]
    with tempfile.TemporaryDirectory(prefix="fljob-context-") as context:
        _copy_context(Path(context))
        file = ROOT / "images" / name / "Dockerfile"
        _buildah("build", "--layers", "--pull=never", "-f", str(file), "-t", reference, *arguments, *volumes, context)


def _copy_context(target: Path) -> None:
    """Copy what git would: no virtual environment, no caches."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "api", "operator", "runtime", "images", "constraints.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source = ROOT / name
        if source.is_file():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())


def _pip_setting(name: str) -> str:
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    environment = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if environment:
        return environment
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
    return found.split()[0] if found else ""


def _ensure_base() -> None:
    """Make the base image unless it is there."""
    if _exists(BASE):
        return
    archive = CACHE / "base.tar"
    if not archive.exists():
        packages = "python3,python3-venv,ca-certificates"
        partial = archive.with_suffix(".partial")
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm"]
        with tempfile.TemporaryDirectory(prefix="fljob-base-", dir=CACHE) as scratch:
            root = Path(scratch) / "root"
            _run([*command, str(root)])
            unneeded = [f"--exclude=./{path}/*" for path in UNNEEDED]
            _run(["tar", "-C", str(root), *unneeded, "-cf", str(partial), "."])
        partial.replace(archive)
    container = _buildah("from", "scratch").strip()
    _buildah("add", container, str(archive), "/")
    _buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
    _buildah("commit", "--rm", container, BASE)


def _exists(reference: str) -> bool:
    return (
        subprocess.run(_command("inspect", "--type", "image", reference), capture_output=True, check=False).returncode
        == 0
    )


def _command(*arguments: str) -> list[str]:
    storage, driver = CACHE / "images", os.environ.get("STORAGE_DRIVER", "overlay")
    return ["buildah", f"--root={storage}", f"--runroot={storage}-run", f"--storage-driver={driver}", *arguments]


def _buildah(*arguments: str) -> str:
    return _run(_command(*arguments))


def _run(command: list[str]) -> str:
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=BUILD_DEADLINE_S, check=False
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise ImageError(f"{' '.join(command[:6])} …:\n{tail}")
    return done.stdout


if __name__ == "__main__":
    sys.stdout.write(f"{build_scorer() if sys.argv[1:] == ['--scorer'] else build(*sys.argv[1:2])}\n")
