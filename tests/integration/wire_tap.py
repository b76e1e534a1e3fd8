"""A TCP relay on loopback that keeps every byte that passes, in both directions."""

from __future__ import annotations

import contextlib
import socket
import threading


class WireTap:
    """Relays connections to one address; `received` is all bytes of all connections, per direction."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._recorded: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def recorded(self) -> list[bytes]:
        """Return the bytes of each direction of each connection so far."""
        return [bytes(part) for part in self._recorded]

    def close(self) -> None:
        """Close everything."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                try:
                    outer = socket.create_connection(self._target, timeout=5.0)
                except OSError:
                    inner.close()
                    continue
                outer.settimeout(None)
                self._sockets += [inner, outer]
                for source, sink in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        record = bytearray()
        self._recorded.append(record)
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                record += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
