"""The error catalogue is complete, permanent, and survives a real RPC."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import pytest

from protos.relay.v1 import relay_pb2, relay_pb2_grpc
from protos.wire.access import ACCESS, Caller
from protos.wire.channels import local_channel
from protos.wire.errors import CATALOGUE, ErrorCode, RefusedError, UnavailableError, refused_from_rpc
from protos.wire.peers import Peer, calling_agency
from protos.wire.server import SERVER_OPTIONS, Gatekeeper

#: Codes as they were first given out. A change here breaks every client in the field.
PERMANENT = {
    "NO_CERTIFICATE": "TS1001",
    "NOT_ALLOWED": "TS1004",
    "TRUST_ROLLBACK": "TS2001",
    "QUORUM_NOT_MET": "TS3003",
    "WRONG_SCHEMA": "TS4003",
    "WRONG_EPOCH": "TS4004",
    "WRONG_LENGTH": "TS4005",
    "MESSAGE_REPLAYED": "TS5001",
    "TOKEN_UNKNOWN": "TS5003",
    "POLICY_NOT_ACTIVE": "TS6006",
    "TOO_LARGE": "TS9001",
    "INTERNAL": "TS9004",
}


def test_every_code_has_an_entry_with_a_sentence() -> None:
    assert set(CATALOGUE) == set(ErrorCode)
    for code, entry in CATALOGUE.items():
        assert re.fullmatch(r"TS[1-69]\d{3}", code)
        assert entry.status is not grpc.StatusCode.OK
        assert entry.meaning.endswith(".")


def test_codes_never_change() -> None:
    assert {name: str(ErrorCode[name]) for name in PERMANENT} == PERMANENT


class _Servicer(relay_pb2_grpc.RelayServiceServicer):
    async def Send(self, request: relay_pb2.SendRequest, context: object) -> relay_pb2.SendResponse:
        if request.purpose == "unforeseen":
            raise KeyError("a postcode that must not leave")
        raise RefusedError(ErrorCode.MAILBOX_FULL, f"wait, {calling_agency()}")

    async def Receive(
        self, request: relay_pb2.ReceiveRequest, context: object
    ) -> AsyncIterator[relay_pb2.ReceiveResponse]:
        yield relay_pb2.ReceiveResponse(message_id="one")
        raise RefusedError(ErrorCode.MESSAGE_EXPIRED, "after the first")

    async def Acknowledge(
        self, request: relay_pb2.AcknowledgeRequest, context: object
    ) -> relay_pb2.AcknowledgeResponse:
        return relay_pb2.AcknowledgeResponse()


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[relay_pb2_grpc.RelayServiceAsyncStub]:
    peer = Peer(frozenset({Caller.AGENCY}), "police")
    gate = Gatekeeper(lambda _: peer, lambda _: None, lambda *_: None)
    server = grpc.aio.server(interceptors=[gate], options=SERVER_OPTIONS)
    relay_pb2_grpc.add_RelayServiceServicer_to_server(_Servicer(), server)
    server.add_insecure_port(f"unix:{tmp_path / 's'}")
    await server.start()
    async with local_channel(tmp_path / "s") as channel:
        yield relay_pb2_grpc.RelayServiceStub(channel)
    await server.stop(None)


async def _refusal(call: Awaitable[object]) -> RefusedError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refused_from_rpc(caught.value)


async def test_refusal_keeps_code_and_sentence(stub: relay_pb2_grpc.RelayServiceAsyncStub) -> None:
    refusal = await _refusal(stub.Send(relay_pb2.SendRequest()))
    assert (refusal.code, refusal.detail) == (ErrorCode.MAILBOX_FULL, "wait, police")


async def test_unforeseen_error_leaves_as_a_reference_only(
    stub: relay_pb2_grpc.RelayServiceAsyncStub, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = await _refusal(stub.Send(relay_pb2.SendRequest(purpose="unforeseen")))
    assert refusal.code is ErrorCode.INTERNAL
    assert re.search(r"Reference [0-9a-f]{8}\.", refusal.detail)
    logged = capsys.readouterr()
    assert "postcode" not in refusal.detail + logged.out + logged.err


async def test_refusal_in_the_middle_of_a_stream(stub: relay_pb2_grpc.RelayServiceAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in stub.Receive(relay_pb2.ReceiveRequest()):
            assert response.message_id == "one"
    assert refused_from_rpc(caught.value).code is ErrorCode.MESSAGE_EXPIRED


async def test_method_not_in_the_table_is_refused(
    stub: relay_pb2_grpc.RelayServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ACCESS, "/protos.relay.v1.RelayService/Acknowledge")
    refusal = await _refusal(stub.Acknowledge(relay_pb2.AcknowledgeRequest()))
    assert refusal.code is ErrorCode.NOT_ALLOWED


async def test_no_server_is_unavailable(tmp_path: Path) -> None:
    async with local_channel(tmp_path / "nobody") as channel:
        refusal = await _refusal(
            relay_pb2_grpc.RelayServiceStub(channel).Send(relay_pb2.SendRequest(), timeout=5)
        )
    assert isinstance(refusal, UnavailableError)


async def test_message_over_the_limit_is_refused(stub: relay_pb2_grpc.RelayServiceAsyncStub) -> None:
    refusal = await _refusal(stub.Send(relay_pb2.SendRequest(sealed=bytes(5 * 1024 * 1024))))
    assert refusal.code is ErrorCode.TOO_LARGE
