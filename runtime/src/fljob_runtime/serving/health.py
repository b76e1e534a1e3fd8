"""The health service of gRPC, as Kubernetes' probes and load balancers ask for it: grpc.health.v1.Health/Check.

Used by `rpc`. Of its two calls Watch is left out, as the service allows: a watcher would hold one of few for good.
The messages are made here, in a pool of their own: generated ones would clash with those of grpcio-health-checking in
a program that has both, and that package would be one more in the scorer's image for two fields.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

SERVICE = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
_FIELDS = {
    "HealthCheckRequest": ("service", FieldDescriptorProto.TYPE_STRING),
    "HealthCheckResponse": ("status", FieldDescriptorProto.TYPE_INT32),  # on the wire as the enumeration is
}


class UnknownServiceError(Exception):
    """A service is asked for that is none of ours."""


def _messages() -> tuple[type[Any], type[Any]]:
    file = FileDescriptorProto(name="grpc/health/v1/health.proto", package="grpc.health.v1", syntax="proto3")
    for name, (field, kind) in _FIELDS.items():
        file.message_type.add(name=name).field.add(
            name=field, number=1, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL
        )
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    request, response = (GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in _FIELDS)
    return request, response


Request, Response = _messages()


@dataclass(frozen=True)
class Health:
    """Answers while it listens: no, once it is draining. services: those that may be asked for, beside all of them."""

    draining: threading.Event
    services: Collection[str]

    def check(self, request: Any) -> Message:  # noqa: ANN401 - a message made here
        """Return a Response; raises UnknownServiceError."""
        if request.service and request.service not in self.services:
            raise UnknownServiceError(f"there is {', '.join(self.services)}")
        reply: Message = Response(status=NOT_SERVING if self.draining.is_set() else SERVING)
        return reply
