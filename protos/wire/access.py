"""Who may make which call. A method that is not in this table is refused to everybody.

A test reads every `.proto` and fails if an RPC is missing here or a line names none.
"""

from __future__ import annotations

from enum import StrEnum


class Caller(StrEnum):
    """What a caller can be."""

    #: An agency's node, known by its certificate and listed in the registry that is in force.
    AGENCY = "agency"
    #: A process on the node's own machine, through the unix socket.
    LOCAL = "local"
    #: Whoever can open a TLS connection with a certificate of this federation.
    MEMBER = "member"


_AGENCY = frozenset({Caller.AGENCY})
_LOCAL = frozenset({Caller.LOCAL})
_MEMBER = frozenset({Caller.AGENCY, Caller.MEMBER})


def _methods(service: str, callers: frozenset[Caller], *names: str) -> dict[str, frozenset[Caller]]:
    return {f"/{service}/{name}": callers for name in names}


ACCESS: dict[str, frozenset[Caller]] = {
    # A node whose registry has expired, or that joins, must be able to fetch the newest trust documents.
    **_methods("protos.registry.v1.RegistryService", _MEMBER, "GetTrust", "PublishTrust"),
    **_methods(
        "protos.documents.v1.DocumentService",
        _AGENCY,
        "PublishDocument",
        "PublishEvent",
        "ListDocuments",
        "PublishStatus",
        "GetStatus",
    ),
    **_methods(
        "protos.linkage.v1.LinkageService",
        _AGENCY,
        "GetEpoch",
        "RotateEpoch",
        "ConfirmKey",
        "BeginUpload",
        "UploadBatches",
        "CommitUpload",
        "StartRun",
        "WatchRun",
        "CancelRun",
        "WatchLinks",
        "LookUp",
    ),
    **_methods("protos.relay.v1.RelayService", _AGENCY, "Send", "Receive", "Acknowledge"),
    **_methods(
        "protos.audit.v1.AuditService",
        _AGENCY,
        "GetCheckpoint",
        "GetConsistencyProof",
        "ReadLeaves",
        "AddCosignature",
    ),
    **_methods(
        "protos.node.v1.ControlService",
        _LOCAL,
        "GetNodeStatus",
        "SyncLinkage",
        "RunLinkage",
        "RotateKey",
        "ListLinks",
        "PublishDocument",
        "PublishEvent",
        "ListDocuments",
        "PrepareRequest",
        "SubmitRequest",
        "ListRequests",
        "GetRequest",
        "PrepareApproval",
        "SubmitApproval",
        "GetPicture",
        "ListEmergencies",
        "PrepareOrder",
        "SubmitOrder",
        "ListSupervision",
        "ListConflicts",
        "ReportSubject",
        "ExportAudit",
    ),
    **_methods("grpc.health.v1.Health", _MEMBER | _LOCAL, "Check", "List", "Watch"),
    # Reflection is off unless the configuration turns it on.
    **_methods("grpc.reflection.v1alpha.ServerReflection", _MEMBER | _LOCAL, "ServerReflectionInfo"),
}


def may_call(method: str, callers: frozenset[Caller]) -> bool:
    """Whether a caller that is any of `callers` may call `method` (`/package.Service/Method`)."""
    return not ACCESS.get(method, frozenset()).isdisjoint(callers)
