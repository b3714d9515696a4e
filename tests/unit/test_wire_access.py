"""Every RPC has a line in the table of who may call it, and every line names an RPC."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

from protos.wire.access import ACCESS, Caller, may_call

ROOT = Path(__file__).resolve().parents[2]


def _files() -> list[FileDescriptor]:
    found = []
    for path in sorted(ROOT.glob("protos/*/v1/*.proto")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts) + "_pb2"
        found.append(importlib.import_module(name).DESCRIPTOR)
    return found


def _rpcs() -> set[str]:
    return {
        f"/{service.full_name}/{method.name}"
        for file in _files()
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_there_are_rpcs_to_check() -> None:
    assert len(_rpcs()) > 30


def test_every_rpc_is_in_the_table_and_every_line_names_one() -> None:
    ours = {method for method in ACCESS if method.startswith("/protos.")}
    assert ours == _rpcs()


def test_no_rpc_is_open_to_nobody() -> None:
    assert all(ACCESS.values())


@pytest.mark.parametrize("method", sorted(_rpcs()))
def test_control_is_local_and_nothing_else_is(method: str) -> None:
    local = may_call(method, frozenset({Caller.LOCAL}))
    assert local == method.startswith("/protos.node.v1.")
    if local:
        assert not may_call(method, frozenset({Caller.AGENCY, Caller.MEMBER}))


def test_unknown_method_is_refused_to_everybody() -> None:
    assert not may_call("/protos.linkage.v1.LinkageService/NotThere", frozenset(Caller))


def test_member_outside_the_registry_reaches_trust_only() -> None:
    reachable = {method for method in _rpcs() if may_call(method, frozenset({Caller.MEMBER}))}
    assert reachable == {
        "/protos.registry.v1.RegistryService/GetTrust",
        "/protos.registry.v1.RegistryService/PublishTrust",
    }
