"""fljob-server as a real process, with certificates, as a pod would start it. For tests of the server."""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fljob_api import names, pki
from fljob_api.job_config import JobConfig
from fljob_api.spec import FLJobSpec
from fljob_runtime.transport.server_client import ServerClient
from support.processes import Process, wait_until
from support.shards import DEADLINE_S, LAYOUT, UID, authority, credentials

TRAINERS = ("a", "b", "c")
SPEC = {
    "model": {"name": "NCF"},
    "dataset": {"name": "Synthetic"},
    "trainers": [{"name": name} for name in TRAINERS],
    "rounds": 1,
}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Program:
    """A server process, its address and its HTTP port."""

    process: Process
    address: str
    http_port: int

    def get(self, path: str) -> tuple[int, str]:
        """Fetch a path of the plain port; (0, "") while nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            return 0, ""
        finally:
            connection.close()

    def client(self, role: str, name: str) -> ServerClient:
        """Return a client of this server."""
        return ServerClient([self.address], credentials(role, name), layout=LAYOUT)

    def ended(self) -> int:
        """Wait for the process to end and return its code."""
        return self.process.popen.wait(DEADLINE_S)


def start(folder: Path, *flags: str, tls: bool = True, shard: int = 0, servers: Sequence[str] | None = None) -> Program:
    """Start a shard, as a pod would; servers: addresses of all the job's shards, by default of this one alone."""
    servers, http_port = servers or [f"127.0.0.1:{free_port()}"], free_port()
    job = JobConfig(
        name="movies", uid=UID, spec=FLJobSpec.from_dict(SPEC), coordinator="127.0.0.1:1", servers=list(servers)
    )
    (folder / "job.json").write_text(job.to_json())
    for name, content in pki.issue(authority(UID), names.ROLE_SERVER, str(shard)).files().items() if tls else ():
        (folder / name).write_bytes(content)
    command = [sys.executable, "-m", "fljob_runtime.programs.server", "--config", str(folder / "job.json")]
    command += ["--tls-dir", str(folder), "--scratch-dir", str(folder), "--listen", "127.0.0.1"]
    command += ["--http-port", str(http_port), *(flags or ("--shard", str(shard)))]
    return Program(Process.start("server", command, folder), servers[shard], http_port)


@contextmanager
def serving(folder: Path, count: int) -> Iterator[list[Program]]:
    """Start all shards of a job, wait until they serve, and stop them at the end."""
    servers = [f"127.0.0.1:{free_port()}" for _ in range(count)]
    with ExitStack() as stack:
        programs = []
        for shard in range(count):
            place = folder / f"shard-{shard}"
            place.mkdir(parents=True)
            program = start(place, shard=shard, servers=servers)
            stack.callback(program.process.stop)
            programs.append(program)
        for program in programs:
            wait_until("healthz", lambda: program.get("/healthz")[0] == 200, DEADLINE_S, program.process)  # noqa: B023
        yield programs
