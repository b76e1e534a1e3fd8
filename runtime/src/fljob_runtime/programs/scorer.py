"""fljob-scorer: answers over HTTP with an exported model of format onnx.

    fljob-scorer MODEL [--listen HOST] [--port PORT] [--grpc-port PORT] [--items COLUMN] [--cert FILE --key FILE]
                       [--threads N] [--drain-s SECONDS]

Needs numpy, onnxruntime, safetensors and prometheus_client alone. With --grpc-port it answers over gRPC, too, and needs
grpcio and protobuf, which are loaded then alone. No torch and no pydantic in here: the scorer's image has neither.
SIGTERM: /readyz and gRPC's health check say no for --drain-s seconds, so that a load balancer turns away, then no
connection or call is taken any more and those that are open are answered.
"""

from __future__ import annotations

import argparse
import signal
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fljob_api.exit_codes import ExitCode
from fljob_runtime.roles.scorer_metrics import ScorerMetrics
from fljob_runtime.serving.answers import DEADLINE_S, Answers
from fljob_runtime.serving.http import ScoringServer, tls_context
from fljob_runtime.serving.onnx_session import open_session
from fljob_runtime.serving.served import ExportError, Format, open_folder

if TYPE_CHECKING:
    from fljob_runtime.serving.rpc import RpcServer


class StartError(Exception):
    """The scorer cannot start as it was told to; `code` is what it ends with."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Options:
    """Flags of the scorer. grpc_port: none is no gRPC; tls: certificate and key."""

    model: Path
    listen: str
    port: int
    grpc_port: int | None
    items: str
    tls: tuple[Path, Path] | None
    threads: int
    drain_s: float


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the flags; ends the process with code 2 for wrong ones."""
    flags = argparse.ArgumentParser("fljob-scorer", description="Score over HTTP and gRPC with an exported model.")
    flags.add_argument("model", type=Path, help="a folder that `fljob model export --format onnx` wrote")
    flags.add_argument("--listen", default="0.0.0.0", help="host to listen on; [::]: IPv6 too")  # noqa: S104 - a pod
    flags.add_argument("--port", type=int, default=8080, help="of HTTP; 0: any")
    flags.add_argument("--grpc-port", type=int, help="answer over gRPC, too; 0: any (default: no gRPC)")
    flags.add_argument("--items", default="item", help="column of ids that top-k ranks")
    flags.add_argument("--cert", type=Path, help="PEM file of a certificate: HTTPS instead of HTTP, gRPC over TLS")
    flags.add_argument("--key", type=Path, help="PEM file of its key")
    flags.add_argument("--threads", type=int, default=1, help="of one request's computation")
    flags.add_argument("--drain-s", type=float, default=5.0, help="seconds between SIGTERM and the end of listening")
    parsed = flags.parse_args(arguments)
    if (parsed.cert is None) is not (parsed.key is None):
        flags.error("--cert and --key go together")
    if not 0 <= parsed.port <= 65_535 or not 0 <= (parsed.grpc_port or 0) <= 65_535:
        flags.error("--port and --grpc-port are 0 to 65535")
    if parsed.threads < 1 or not 0 <= parsed.drain_s <= 300:
        flags.error("--threads is at least 1, --drain-s 0 to 300")
    tls = (parsed.cert, parsed.key) if parsed.cert else None
    return Options(
        model=parsed.model,
        listen=parsed.listen.strip("[]"),
        port=parsed.port,
        grpc_port=parsed.grpc_port,
        items=parsed.items,
        tls=tls,
        threads=parsed.threads,
        drain_s=parsed.drain_s,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer until SIGTERM or Ctrl-C; the first line of output is the address, the second gRPC's, if asked for."""
    options = parse(arguments)
    try:
        server, rpc = start(options)
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(error.code))
    stopping = threading.Thread(target=_stop, args=(server, options.drain_s), daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None if stopping.is_alive() else stopping.start())
    with server:
        sys.stdout.write("".join(f"{face.url}\n" for face in (server, rpc) if face is not None))
        sys.stdout.flush()
        server.serve_forever(0.1)
        end = time.monotonic() + DEADLINE_S
        if rpc is not None:
            rpc.stop(DEADLINE_S)
        server.finish(max(0.0, end - time.monotonic()))


def start(options: Options) -> tuple[ScoringServer, RpcServer | None]:
    """Open the model and listen; raises StartError."""
    try:
        model = open_folder(options.model, {Format.ONNX: partial(open_session, threads=options.threads)})
    except ExportError as error:
        raise StartError(str(error), ExitCode.BAD_DATA) from error
    try:
        tls: ssl.SSLContext | None = tls_context(*options.tls) if options.tls else None
    except OSError as error:
        raise StartError(f"--cert, --key: cannot be read: {error}", ExitCode.BAD_CONFIG) from error
    answers = Answers(model, options.items, ScorerMetrics(model.told))
    with ExitStack() as opened:
        try:
            server = opened.enter_context(ScoringServer(answers, options.listen, options.port, tls))
        except OSError as error:
            at = f"{options.listen}:{options.port}"
            raise StartError(f"cannot listen on {at}: {error}", ExitCode.BAD_CONFIG) from error
        rpc = _start_rpc(answers, options) if options.grpc_port is not None else None
        opened.pop_all()
    return server, rpc


def _start_rpc(answers: Answers, options: Options) -> RpcServer:
    try:
        from fljob_runtime.serving.rpc import RpcServer  # noqa: PLC0415 - needs grpcio and protobuf
    except ImportError as error:
        raise StartError(f"--grpc-port needs grpcio and protobuf: {error}", ExitCode.BAD_CONFIG) from error
    rpc = RpcServer(answers, options.listen, options.grpc_port or 0, options.tls)
    try:
        rpc.start()
    except OSError as error:
        at = f"{options.listen}:{options.grpc_port}"
        raise StartError(f"cannot listen on {at}: {error}", ExitCode.BAD_CONFIG) from error
    return rpc


def _stop(server: ScoringServer, drain_s: float) -> None:
    server.draining.set()
    threading.Event().wait(drain_s)
    server.shutdown()


if __name__ == "__main__":
    main()
