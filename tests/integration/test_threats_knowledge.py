"""Who may know what (docs/THREATS.md): looked for in what each side keeps, and in what RPCs can carry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

from agency_node.keys import AUDIT, SEALING, SIGNING, WRAP
from crypto.keystore import Keystore
from protos.audit.v1 import audit_pb2
from protos.documents.v1 import documents_pb2
from protos.linkage.v1 import linkage_pb2
from protos.registry.v1 import registry_pb2
from protos.relay.v1 import relay_pb2
from tests.federation import CARE, LINKAGE, NHS, PASSPHRASE, POLICE, mutual_parties
from tests.nodes import NodeWorld, person, running_nodes, until

PEOPLE = range(20)
SERVICES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR for module in (audit_pb2, documents_pb2, linkage_pb2, registry_pb2, relay_pb2)
)


@pytest.fixture
async def linked(tmp_path: Path) -> AsyncIterator[NodeWorld]:
    """Police and social care know the same people, have linked them, and have told each other so."""
    async with running_nodes(tmp_path, (POLICE, CARE, NHS)) as world:
        for agency in (POLICE, CARE, NHS):
            world.folders[agency].people(person(n, id=f"{agency}-subject-{n:04}") for n in PEOPLE)
        await world.agree()
        for agency in (POLICE, CARE):
            await world.sync(agency)
        await world.match(POLICE)
        policy = world.federation.policy()
        clauses = tuple(
            replace(clause, providers=(POLICE, CARE), recipients=(POLICE, CARE))
            for clause in policy.releases
            if clause.tier == 0
        )[:1]
        mutual = world.federation.policy(
            parties=mutual_parties(POLICE, CARE),
            clauses=clauses,
            governance=replace(policy.governance, dpo_advice=()),
        )
        await world.nodes[CARE].publish_document(world.federation.signed_policy(mutual))

        async def told() -> bool:
            found = [await world.nodes[agency].list_links(None, None) for agency in (POLICE, CARE)]
            return [len(links) for links in found] == [len(PEOPLE)] * 2

        await until(told)
        yield world


def kept(folder: Path) -> bytes:
    """Everything in a folder, write-ahead logs included."""
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def test_the_broker_keeps_no_identifier_no_subject_and_no_key(linked: NodeWorld) -> None:
    needles = {f"{agency}-subject-{n:04}" for agency in (POLICE, CARE) for n in PEOPLE}
    for number in PEOPLE:
        fields = person(number)
        needles |= {fields[name] for name in ("given", "family", "street", "postcode", "dob")}
    secrets = set()
    for agency in (POLICE, CARE):
        keystore = Keystore.open(linked.folders[agency].config.keystore, PASSPHRASE)
        secrets |= {keystore.signing(SIGNING).private_bytes(), keystore.secret(WRAP), keystore.secret(AUDIT)}
        secrets |= {keystore.sealing(SEALING).private_bytes()}
        parts = linked.nodes[agency].parts
        async with parts.store.transaction() as tx:
            secrets.add(await parts.ring.key(tx, LINKAGE, 1))
    everything = kept(linked.federation.folder / "broker")
    folded = everything.lower()
    assert [needle for needle in needles if needle.lower().encode() in folded] == []
    assert not [secret for secret in secrets if secret in everything or secret.hex().encode() in folded]
    # The search can find: an agency's own folder holds its own people.
    assert person(3)["family"].encode() in kept(linked.folders[POLICE].folder)


async def test_nodes_hold_nothing_of_each_other_and_no_common_name_for_a_link(linked: NodeWorld) -> None:
    tokens, handles = {}, {}
    for agency in (POLICE, CARE):
        links = [item.link for item in await linked.nodes[agency].list_links(None, None)]
        tokens[agency] = {link.token for link in links}
        handles[agency] = {link.handle for link in links}
        assert len(tokens[agency]) == len(handles[agency]) == len(PEOPLE)
    assert not tokens[POLICE] & tokens[CARE]
    assert not handles[POLICE] & handles[CARE]
    for agency, other in ((POLICE, CARE), (CARE, POLICE)):
        everything = kept(linked.folders[agency].folder)
        assert next(iter(handles[agency])) in everything  # the search can find
        assert not [value for value in tokens[other] | handles[other] if value in everything]
        assert f"{other}-subject".encode() not in everything


def answers() -> Iterator[tuple[str, Descriptor]]:
    """What the broker can say to a node: every message that an RPC of its services returns."""
    for file in SERVICES:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield method.full_name, method.output_type


def within(message: Descriptor, seen: frozenset[str] = frozenset()) -> Iterator[FieldDescriptor]:
    """All fields of a message, nested ones too."""
    if message.full_name in seen:
        return
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from within(field.message_type, seen | {message.full_name})


def test_no_answer_of_the_broker_can_carry_encodings() -> None:
    carriers = {"EncodingBatch", "Column"}
    found = [
        name
        for name, message in answers()
        if any(
            field.message_type is not None and field.message_type.name in carriers
            for field in within(message)
        )
    ]
    assert len(list(answers())) > 15
    assert found == []


def test_no_answer_of_the_broker_can_carry_a_score() -> None:
    numbers = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
    for name, message in answers():
        for field in within(message):
            assert field.type not in numbers, f"{name}: {field.full_name}"
            assert not {"score", "similarity", "dice"} & set(field.name.split("_")), (
                f"{name}: {field.full_name}"
            )
