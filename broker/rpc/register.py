"""All services of the broker on one server."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from broker.rpc.audit import AuditServicer
from broker.rpc.documents import DocumentServicer
from broker.rpc.linkage import LinkageServicer
from broker.rpc.registry import RegistryServicer
from broker.rpc.relay import RelayServicer
from protos.audit.v1 import audit_pb2_grpc
from protos.documents.v1 import documents_pb2_grpc
from protos.linkage.v1 import linkage_pb2_grpc
from protos.registry.v1 import registry_pb2_grpc
from protos.relay.v1 import relay_pb2_grpc

SERVICES = (
    "protos.registry.v1.RegistryService",
    "protos.documents.v1.DocumentService",
    "protos.linkage.v1.LinkageService",
    "protos.relay.v1.RelayService",
    "protos.audit.v1.AuditService",
)


@dataclass(frozen=True, slots=True)
class Servicers:
    """One of each."""

    registry: RegistryServicer
    documents: DocumentServicer
    linkage: LinkageServicer
    relay: RelayServicer
    audit: AuditServicer


def register(servicers: Servicers, server: grpc.aio.Server) -> None:
    """Adds every service to a server that is not started yet."""
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(servicers.registry, server)
    documents_pb2_grpc.add_DocumentServiceServicer_to_server(servicers.documents, server)
    linkage_pb2_grpc.add_LinkageServiceServicer_to_server(servicers.linkage, server)
    relay_pb2_grpc.add_RelayServiceServicer_to_server(servicers.relay, server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(servicers.audit, server)
