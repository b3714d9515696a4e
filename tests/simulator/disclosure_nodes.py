"""Two agencies' nodes without a network: real stores, keys, policies and audit logs, and a relay in memory.

The police ask, social care holds. `Relay.deliver` hands every queued message on, as the broker would: it adds
the recipient's own handle to a message addressed by link token.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from agency_node.audit import AuditLog
from agency_node.disclosure.context import DisclosureContext, DisclosureSettings
from agency_node.disclosure.records import Holding
from agency_node.disclosure.service import Disclosure
from agency_node.disclosure.vault import Vault
from agency_node.documents import PolicyBook
from agency_node.key_service import KeyRing
from agency_node.keys import NodeKeys, Wrapper
from agency_node.links import LinkBook
from agency_node.mailbox import Mailbox
from agency_node.model import KnownLink, OutboxItem
from agency_node.rpc.ports import EmergencyClaim, OrderDraft, RequestDraft
from agency_node.store.store import NodeStore, NodeTransaction
from agency_node.subjects import CaseRecord, Identity, RecordId, Subject, SubjectId
from crypto.envelope import Envelope, sign_envelope
from crypto.keys import SealingPrivateKey, Signer, generate_sealing_key
from crypto.tokens import LinkToken
from policies.agreement import LinkageAgreement, SubjectType
from policies.codec import document_hash, envelope_of
from policies.disclosure import BreakGlass
from policies.ids import AgencyId, LinkageId
from policies.registry import Registry
from policies.render import page_hash, render_agreement, render_policy
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument, sign_statement
from policies.statements import SigningStatement
from policies.vocabulary import Decision, OfficerRole
from protos.wire.documents import DocumentBundle, DocumentKind
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Strength
from protos.wire.relay import IncomingMessage, LinkReference, OutgoingMessage, ToLink
from tests.simulator.databases import migrate
from tests.simulator.policies import (
    CARE,
    FEDERATION,
    LINKAGE,
    NHS,
    NOW,
    POLICE,
    FederationSimulator,
    key_of,
    sample_agreement,
    sampled,
)

EPOCH = 1
LINKAGE_KEY = bytes(range(32))
SUSAN_AT_POLICE, SUSAN_AT_CARE = SubjectId("NOM-77"), SubjectId("SC-4")
SUSAN = {
    "given_names": "SUSAN",
    "family_name": "MARSDEN",
    "date_of_birth": "1984-03-02",
    "birth_year": "1984",
    "birth_day_month": "03-02",
    "postcode": "NM12AB",
}
HANDLE_AT_POLICE, HANDLE_AT_CARE = b"p" * 16, b"c" * 16
DECOY_AT_CARE, OTHER_AT_CARE = b"d" * 16, b"o" * 16
TOKEN = LinkToken(b"t" * 16)
OFFICER, APPROVER = "police.investigator", "care.approver"


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Records:
    """What one agency's source holds."""

    subjects: dict[SubjectId, Subject] = field(default_factory=dict)
    records: dict[SubjectId, list[CaseRecord]] = field(default_factory=dict)
    fails: bool = False

    def add(self, subject_id: SubjectId, fields: Mapping[str, str], records: Sequence[CaseRecord]) -> None:
        self.subjects[subject_id] = Subject(subject_id, "person", (Identity(dict(fields)),))
        self.records[subject_id] = list(records)

    async def holding(self, subject: SubjectId, kind: SubjectType) -> Holding | None:
        if self.fails:
            raise RuntimeError("the source is broken")
        held = self.subjects.get(subject)
        if held is None or held.subject_type != kind.value:
            return None
        return Holding(held, tuple(self.records[subject]))

    def close(self) -> None:
        return None


def record(
    number: str, kind: str, occurred: date | None, markers: Iterable[str] = (), **fields: str
) -> CaseRecord:
    """A case record at social care, about Susan."""
    return CaseRecord(RecordId(number), SUSAN_AT_CARE, kind, occurred, fields, frozenset(markers))


def care_records() -> list[CaseRecord]:
    """One record of each kind that the sample policy treats differently."""
    return [
        record("R1", "risk_assessment", date(2026, 1, 20), risk_band="high", consent="given"),
        record("R2", "risk_assessment", date(2024, 5, 1), risk_band="medium", consent="refused"),
        record("I1", "incident", date(2025, 11, 3), summary="Neighbour heard shouting.", notes="In full."),
        record("I2", "incident", date(2025, 12, 1), ["safe_address"], summary="Moved to 1 Hidden Lane."),
        record("I3", "incident", date(2025, 12, 9), ["legally_privileged"], summary="Advice of counsel."),
    ]


class FixedKeys(KeyRing):
    """The linkage key of one epoch, agreed beforehand."""

    def __init__(self) -> None:
        super().__init__(Wrapper(bytes(32)))

    async def key(self, tx: NodeTransaction, linkage_id: LinkageId, epoch: int) -> bytes:
        if (linkage_id, epoch) != (LINKAGE, EPOCH):
            return await super().key(tx, linkage_id, epoch)
        return LINKAGE_KEY


@dataclass
class SimNode:
    """One agency's node."""

    agency: AgencyId
    clock: Clock
    keys: NodeKeys
    store: NodeStore
    mailbox: Mailbox
    book: PolicyBook
    log: AuditLog
    records: Records
    disclosure: Disclosure

    async def queued(self) -> tuple[OutboxItem, ...]:
        """Everything in the outbox, due or not."""
        async with self.store.transaction() as tx:
            return await tx.outbox.due(self.clock.now + timedelta(days=365), 1000)

    async def actions(self) -> list[str]:
        """The actions of the audit log, in order."""
        async with self.store.transaction() as tx:
            return [entry.leaf.action.value async for entry in tx.audit.entries()]

    async def bodies(self, action: str) -> list[Mapping[str, object]]:
        """The opened bodies of the entries with an action."""
        async with self.store.transaction() as tx:
            return [
                item.details.body
                async for item in self.log.read(tx)
                if item.details is not None and item.entry.leaf.action.value == action
            ]


class Registries:
    """The registry of the moment, which a test may change."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def __call__(self, now: datetime) -> Registry:
        if now >= self.registry.expires:
            raise RefusedError(ErrorCode.TRUST_EXPIRED, "the registry has expired")
        return self.registry


Tamper = Callable[[IncomingMessage], IncomingMessage | None]


@dataclass
class World:
    """Police and social care, with a signed policy between them and one link told."""

    clock: Clock
    registries: Registries
    police: SimNode
    care: SimNode
    policy: SharingPolicy
    policy_hash: str
    #: Which of care's handles the broker adds for the link token.
    handle: bytes = HANDLE_AT_CARE
    #: The recipient's handles for other tokens than the police's.
    handle_at: dict[bytes, bytes] = field(default_factory=dict)
    delivered: list[IncomingMessage] = field(default_factory=list)

    @property
    def nodes(self) -> dict[AgencyId, SimNode]:
        return {POLICE: self.police, CARE: self.care}

    async def deliver(self, tamper: Tamper = lambda message: message) -> int:
        """Hands on every message that may be sent, until there is none; returns how many were taken."""
        count = 0
        while True:
            batch = [(sender, item) for sender in self.nodes.values() for item in await self._due(sender)]
            if not batch:
                return count
            for sender, item in batch:
                count += await self._hand_on(sender, item, tamper)

    async def _due(self, sender: SimNode) -> tuple[OutboxItem, ...]:
        async with sender.store.transaction() as tx:
            return await tx.outbox.due(self.clock.now, 1000)

    async def _hand_on(self, sender: SimNode, item: OutboxItem, tamper: Tamper) -> int:
        async with sender.store.transaction() as tx:
            await tx.outbox.sent(item.message_id)
        return await self.hand_over(sender, item, tamper)

    async def hand_over(
        self, sender: SimNode, item: OutboxItem | OutgoingMessage, tamper: Tamper = lambda message: message
    ) -> int:
        """Lets the recipient take a message, as the broker would address it; returns how many were taken."""
        link, to = None, CARE if sender.agency == POLICE else POLICE
        if isinstance(item.address, ToLink):
            handle = self.handle_at.get(item.address.token, self.handle)
            link = LinkReference(handle, LINKAGE, EPOCH, Strength.STRONG)
        else:
            to = AgencyId(item.address.agency)
        message = tamper(
            IncomingMessage(item.message_id, str(sender.agency), item.purpose, item.sealed, link)
        )
        if message is None or to not in self.nodes:
            return 0
        self.delivered.append(message)
        await self.nodes[to].mailbox.take(AcknowledgingRelay(), message)
        return 1

    # -- what people do

    def draft(self, **changes: object) -> RequestDraft:
        """What the investigator wants to ask."""
        base = RequestDraft(
            link_token=TOKEN.text,
            purpose="domestic_abuse_risk",
            tier=1,
            necessity="Third call to this address in a month.",
            case_reference="CASE-2026-77",
            urgency="routine",
            record_types=(),
            fields=(),
            officer=OFFICER,
            role="investigator",
        )
        return replace(base, **changes)  # type: ignore[arg-type] # the test names real fields

    async def ask(
        self, *, signer: Signer | None = None, break_glass: BreakGlass | None = None, **changes: object
    ) -> str:
        """Prepares, signs and submits a request; returns its id."""
        if break_glass is not None:
            claim = EmergencyClaim(str(break_glass.reason_code), str(break_glass.explanation))
            changes["break_glass"] = claim
        draft = self.draft(**changes)
        prepared = await self.police.disclosure.prepare_request(draft)
        envelope = sign_envelope(prepared.payload_type, prepared.payload, [signer or key_of(draft.officer)])
        return await self.police.disclosure.submit_request(envelope.to_bytes())

    async def approve(
        self, request_id: str, node: SimNode, officer: str, role: str, decision: str = "approve"
    ) -> str:
        """An officer approves or rejects at a node; returns the request's state there."""
        signed = await self.signed_approval(request_id, node, officer, role, decision)
        return await node.disclosure.submit_approval(signed)

    async def signed_approval(
        self, request_id: str, node: SimNode, officer: str, role: str, decision: str = "approve"
    ) -> bytes:
        """An approval or rejection that an officer has signed and not handed in."""
        prepared = await node.disclosure.prepare_approval(
            request_id, decision, "Necessary and proportionate.", officer, role
        )
        return sign_envelope(prepared.payload_type, prepared.payload, [key_of(officer)]).to_bytes()

    async def order(
        self,
        node: SimNode,
        act: str,
        target: str,
        officer: str,
        role: str,
        about: str = "",
        reason: str = "It is right.",
    ) -> str:
        """An officer orders something at a node; returns what was done."""
        signed = await self.signed_order(node, act, target, officer, role, about, reason)
        return await node.disclosure.submit_order(signed)

    async def signed_order(
        self,
        node: SimNode,
        act: str,
        target: str,
        officer: str,
        role: str,
        about: str = "",
        reason: str = "It is right.",
        *,
        signer: Signer | None = None,
    ) -> bytes:
        """An order that an officer has signed and not handed in."""
        prepared = await node.disclosure.prepare_order(OrderDraft(act, target, about, reason, officer, role))
        key = signer or key_of(officer)
        return sign_envelope(prepared.payload_type, prepared.payload, [key]).to_bytes()

    async def refresh_status(self) -> None:
        """Social care signs its policies' status anew, and the police take it."""
        registry = self.registries.registry
        async with self.care.store.transaction() as tx:
            status = await self.care.book.own_status(tx, registry, self.clock.now)
        if status is not None:
            async with self.police.store.transaction() as tx:
                await self.police.book.accept_status(tx, CARE, status, registry, self.clock.now)

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.store.close()


class AcknowledgingRelay:
    """The part of the relay that a mailbox needs when it takes a message."""

    async def send(self, message: object) -> bool:
        raise AssertionError("nothing is sent while taking")

    def receive(self) -> AsyncGenerator[IncomingMessage, None]:
        raise AssertionError("messages are handed over")

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        return None


def registry_with(sealing: Mapping[AgencyId, SealingPrivateKey]) -> Registry:
    """The simulator's registry with sealing keys that open."""
    registry = FederationSimulator().registry()
    agencies = tuple(
        replace(item, sealing_key=sealing[item.id].public_key) if item.id in sealing else item
        for item in registry.agencies
    )
    return replace(registry, agencies=agencies)


def signed_bundle(
    document: SharingPolicy | LinkageAgreement, signers: Sequence[tuple[str, AgencyId, OfficerRole]]
) -> DocumentBundle:
    """A document with approving statements."""
    if isinstance(document, SharingPolicy):
        page, kind = page_hash(render_policy(document)), DocumentKind.SHARING_POLICY
    else:
        page, kind = page_hash(render_agreement(document)), DocumentKind.LINKAGE_AGREEMENT
    digest = document_hash(document)
    signed = SignedDocument(envelope_of(document))
    for person, organisation, role in signers:
        statement = SigningStatement(
            signed.digest, page, organisation, role, Decision.APPROVE, NOW - timedelta(hours=1)
        )
        signed = signed.with_statement(sign_statement(statement, key_of(person)))
    assert signed.digest == digest
    return DocumentBundle(
        kind, signed.document.to_bytes(), tuple(item.to_bytes() for item in signed.statements), ()
    )


POLICY_SIGNERS = (
    ("police.siro", POLICE, OfficerRole.SIRO),
    ("care.siro", CARE, OfficerRole.SIRO),
    ("care.guardian", CARE, OfficerRole.CALDICOTT_GUARDIAN),
    ("nhs.siro", NHS, OfficerRole.SIRO),
    ("nhs.guardian", NHS, OfficerRole.CALDICOTT_GUARDIAN),
)
AGREEMENT_SIGNERS = tuple((f"{name}.siro", name, OfficerRole.SIRO) for name in (POLICE, CARE, NHS))


async def make_world(
    folder: Path | None = None,
    *,
    policy: SharingPolicy | None = None,
    signers: Sequence[tuple[str, AgencyId, OfficerRole]] = POLICY_SIGNERS,
    answer_seconds: float = 0,
) -> World:
    """A world in which the police may ask social care about Susan; without a folder it is kept in memory."""
    clock = Clock()
    sealing = {POLICE: generate_sealing_key(), CARE: generate_sealing_key()}
    registries = Registries(registry_with(sealing))
    policy = policy or sampled(0)
    bundles = [signed_bundle(policy, signers), signed_bundle(sample_agreement(), AGREEMENT_SIGNERS)]
    settings = DisclosureSettings(answer_seconds=answer_seconds)
    nodes: dict[AgencyId, SimNode] = {}
    for name, sealing_key in sealing.items():
        nodes[name] = node = open_node(folder, _keys(name, sealing_key), clock, registries, settings)
        await migrate(node.store.engine)
        async with node.store.transaction() as tx:
            for bundle in bundles:
                digest = Envelope.from_bytes(bundle.document).digest
                await tx.documents.put(digest, bundle, clock.now)
    police, care = nodes[POLICE], nodes[CARE]
    police.records.add(SUSAN_AT_POLICE, SUSAN, [])
    care.records.add(SUSAN_AT_CARE, SUSAN, care_records())
    care.records.add(SubjectId("SC-9"), {"given_names": "ALAN", "family_name": "OTHER"}, [])
    async with police.store.transaction() as tx:
        await tx.handles.add(LINKAGE, {SUSAN_AT_POLICE: HANDLE_AT_POLICE})
        expires = clock.now + timedelta(days=30)
        link = KnownLink(
            TOKEN.raw, HANDLE_AT_POLICE, LINKAGE, EPOCH, CARE, Strength.STRONG, document_hash(policy), expires
        )
        await tx.links.put([link])
    async with care.store.transaction() as tx:
        await tx.handles.add(LINKAGE, {SUSAN_AT_CARE: HANDLE_AT_CARE, SubjectId("SC-9"): OTHER_AT_CARE})
        await tx.handles.add(LINKAGE, {SubjectId("decoy-1"): DECOY_AT_CARE}, decoys=True)
    world = World(clock, registries, police, care, policy, document_hash(policy))
    await world.refresh_status()
    return world


def _keys(name: AgencyId, sealing: SealingPrivateKey) -> NodeKeys:
    return NodeKeys(
        FEDERATION,
        name,
        key_of(f"node {name}"),
        (sealing,),
        Wrapper(secrets.token_bytes(32)),
        Wrapper(secrets.token_bytes(32)),
    )


def open_node(
    folder: Path | None,
    keys: NodeKeys,
    clock: Clock,
    registries: Registries,
    settings: DisclosureSettings,
    records: Records | None = None,
) -> SimNode:
    """The node over a database in `folder` or in memory, which must have been migrated before it is used."""
    store = NodeStore.open("sqlite://" if folder is None else f"sqlite:///{folder / f'{keys.agency}.db'}")
    log = AuditLog(keys, keys.audit_wrapper, clock)
    book = PolicyBook(keys, log)
    mailbox = Mailbox(store, keys, registries, log, clock)
    held = records or Records()
    context = DisclosureContext(
        identity=keys,
        store=store,
        registry_at=registries,
        book=book,
        mailbox=mailbox,
        ring=FixedKeys(),
        links=LinkBook(store, keys, log),
        log=log,
        vault=Vault(keys.wrapper),
        reader=held,
        clock=clock,
        settings=settings,
    )
    return SimNode(keys.agency, clock, keys, store, mailbox, book, log, held, Disclosure(context))
