"""TLS on both sides: mutual, TLS 1.3 only (see `protos`), the federation's CA and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from protos.wire.limits import LIMITS

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", LIMITS.message_bytes),
    ("grpc.max_send_message_length", LIMITS.message_bytes),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A leaf certificate with its chain, its private key and the federation CA, all PEM."""

    certificate: bytes
    private_key: bytes = field(repr=False)
    federation_ca: bytes = field(repr=False)

    @classmethod
    def load(cls, certificate: Path, private_key: Path, federation_ca: Path) -> TlsIdentity:
        """Reads the three files. OSError names the one that is missing."""
        return cls(certificate.read_bytes(), private_key.read_bytes(), federation_ca.read_bytes())


def server_credentials(identity: TlsIdentity) -> grpc.ServerCredentials:
    """Credentials of a server that demands a client certificate of the federation."""
    return grpc.ssl_server_credentials(
        [(identity.private_key, identity.certificate)],
        root_certificates=identity.federation_ca,
        require_client_auth=True,
    )


def broker_channel(target: str, identity: TlsIdentity) -> grpc.aio.Channel:
    """A channel to the broker at `host:port`. The host must stand in the broker's certificate."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.federation_ca,
        private_key=identity.private_key,
        certificate_chain=identity.certificate,
    )
    return grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS)


def local_channel(socket: Path) -> grpc.aio.Channel:
    """A channel to a node's control socket on this machine."""
    return grpc.aio.insecure_channel(f"unix:{socket}", options=CHANNEL_OPTIONS)
