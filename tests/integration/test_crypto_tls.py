"""Real handshakes with the federation's certificates: gRPC on loopback, mutual TLS."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from crypto.pki import FederationCa, PeerIdentity, PeerRole, make_key_and_request, parse_spiffe

AGENCY = PeerIdentity("demo", PeerRole.AGENCY, "north-police")
BROKER = PeerIdentity("demo", PeerRole.BROKER, "broker")
TIMEOUT = 5


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def ca(now: datetime) -> FederationCa:
    return FederationCa.create("demo", now - timedelta(days=50))


def _who(_request: bytes, context: grpc.ServicerContext) -> bytes:
    (uri,) = context.auth_context()["peer_uri"]
    return bytes(uri)


@contextmanager
def _server(ca: FederationCa, now: datetime, identity: PeerIdentity = BROKER) -> Iterator[int]:
    key, request = make_key_and_request(identity)
    addresses = ["127.0.0.1"] if identity.role is PeerRole.BROKER else []
    certificate = ca.issue(identity.role, identity.id, request, now, ip_addresses=addresses)
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=ca.certificate_pem, require_client_auth=True
    )
    handler = grpc.method_handlers_generic_handler(
        "test.Who", {"Ask": grpc.unary_unary_rpc_method_handler(_who)}
    )
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def _ask(port: int, roots: bytes, key: bytes | None = None, certificate: bytes | None = None) -> str:
    credentials = grpc.ssl_channel_credentials(roots, key, certificate)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        answer: bytes = channel.unary_unary("/test.Who/Ask", bytes, bytes)(b"", timeout=TIMEOUT)
    return answer.decode()


def _client(ca: FederationCa, when: datetime) -> tuple[bytes, bytes]:
    key, request = make_key_and_request(AGENCY)
    return key, ca.issue("agency", AGENCY.id, request, when, days=30)


def test_the_broker_sees_the_agency_s_identity(ca: FederationCa, now: datetime) -> None:
    with _server(ca, now) as port:
        assert parse_spiffe(_ask(port, ca.certificate_pem, *_client(ca, now))) == AGENCY


def test_strangers_are_refused(ca: FederationCa, now: datetime) -> None:
    stranger = FederationCa.create("demo", now)
    with _server(ca, now) as port:
        for key, certificate in (
            (None, None),
            _client(stranger, now),
            _client(ca, now - timedelta(days=40)),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                _ask(port, ca.certificate_pem, key, certificate)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_agency_cannot_pose_as_the_broker(ca: FederationCa, now: datetime) -> None:
    with _server(ca, now, AGENCY) as port, pytest.raises(grpc.RpcError) as caught:
        _ask(port, ca.certificate_pem, *_client(ca, now))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_broker_s_certificate_is_no_client_s(ca: FederationCa, now: datetime) -> None:
    key, request = make_key_and_request(BROKER)
    certificate = ca.issue("broker", "broker", request, now, dns_names=["broker.test"])
    with _server(ca, now) as port, pytest.raises(grpc.RpcError) as caught:
        _ask(port, ca.certificate_pem, key, certificate)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
