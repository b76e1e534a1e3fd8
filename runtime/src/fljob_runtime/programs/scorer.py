"""fljob-scorer: answers over HTTP with an exported model of format onnx. Needs numpy, onnxruntime, safetensors alone.

    fljob-scorer MODEL [--listen HOST] [--port PORT] [--items COLUMN] [--cert FILE --key FILE] [--threads N]
                       [--drain-s SECONDS]

No torch, no grpc and no pydantic in here: the scorer's image has none of them. SIGTERM: /readyz says no for --drain-s
seconds, so that a load balancer turns away, then no connection is taken any more and those that are open are answered.
"""

from __future__ import annotations

import argparse
import signal
import ssl
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fljob_api.exit_codes import ExitCode
from fljob_runtime.serving.http import DEADLINE_S, Answers, ScoringServer, tls_context
from fljob_runtime.serving.onnx_session import open_session
from fljob_runtime.serving.served import ExportError, Format, open_folder


class StartError(Exception):
    """The scorer cannot start as it was told to; `code` is what it ends with."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Options:
    """Flags of the scorer. tls: certificate and key."""

    model: Path
    listen: str
    port: int
    items: str
    tls: tuple[Path, Path] | None
    threads: int
    drain_s: float


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the flags; ends the process with code 2 for wrong ones."""
    flags = argparse.ArgumentParser("fljob-scorer", description="Score over HTTP with an exported model.")
    flags.add_argument("model", type=Path, help="a folder that `fljob model export --format onnx` wrote")
    flags.add_argument("--listen", default="0.0.0.0", help="host to listen on; [::]: IPv6 too")  # noqa: S104 - a pod
    flags.add_argument("--port", type=int, default=8080, help="0: any")
    flags.add_argument("--items", default="item", help="column of ids that /v1/top-k ranks")
    flags.add_argument("--cert", type=Path, help="PEM file of a certificate: HTTPS instead of HTTP")
    flags.add_argument("--key", type=Path, help="PEM file of its key")
    flags.add_argument("--threads", type=int, default=1, help="of one request's computation")
    flags.add_argument("--drain-s", type=float, default=5.0, help="seconds between SIGTERM and the end of listening")
    parsed = flags.parse_args(arguments)
    if (parsed.cert is None) is not (parsed.key is None):
        flags.error("--cert and --key go together")
    if not 0 <= parsed.port <= 65_535 or parsed.threads < 1 or not 0 <= parsed.drain_s <= 300:
        flags.error("--port is 0 to 65535, --threads at least 1, --drain-s 0 to 300")
    tls = (parsed.cert, parsed.key) if parsed.cert else None
    host = parsed.listen.strip("[]")
    return Options(parsed.model, host, parsed.port, parsed.items, tls, parsed.threads, parsed.drain_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer until SIGTERM or Ctrl-C; the first line of output is the address."""
    options = parse(arguments)
    try:
        server = start(options)
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(error.code))
    stopping = threading.Thread(target=_stop, args=(server, options.drain_s), daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None if stopping.is_alive() else stopping.start())
    with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        server.serve_forever(0.1)
        server.finish(DEADLINE_S)


def start(options: Options) -> ScoringServer:
    """Open the model and listen; raises StartError."""
    try:
        model = open_folder(options.model, {Format.ONNX: partial(open_session, threads=options.threads)})
    except ExportError as error:
        raise StartError(str(error), ExitCode.BAD_DATA) from error
    try:
        tls: ssl.SSLContext | None = tls_context(*options.tls) if options.tls else None
    except OSError as error:
        raise StartError(f"--cert, --key: cannot be read: {error}", ExitCode.BAD_CONFIG) from error
    try:
        return ScoringServer(Answers(model, options.items), options.listen, options.port, tls)
    except OSError as error:
        raise StartError(f"cannot listen on {options.listen}:{options.port}: {error}", ExitCode.BAD_CONFIG) from error


def _stop(server: ScoringServer, drain_s: float) -> None:
    server.draining.set()
    threading.Event().wait(drain_s)
    server.shutdown()


if __name__ == "__main__":
    main()
