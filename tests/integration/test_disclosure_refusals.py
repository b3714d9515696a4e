"""Every way in which a disclosure is refused, each by its own name, and each on record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from agency_node.disclosure.model import Direction
from agency_node.model import KnownLink
from crypto.envelope import Envelope, sign_envelope
from crypto.seal import SealContext, seal_to
from policies.codec import open_document, payload_type, write
from policies.disclosure import DisclosureRequest
from policies.ids import AgencyId, DocumentId, Hash256, Line, PersonId, Prose
from policies.lifecycle import sign_event
from policies.statements import PolicyAction, PolicyEvent
from policies.vocabulary import OfficerRole
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Strength
from protos.wire.relay import IncomingMessage, LinkReference
from tests.simulator.disclosure_nodes import (
    DECOY_AT_CARE,
    EPOCH,
    HANDLE_AT_CARE,
    HANDLE_AT_POLICE,
    OTHER_AT_CARE,
    POLICY_SIGNERS,
    TOKEN,
    AcknowledgingRelay,
    World,
    make_world,
    signed_bundle,
)
from tests.simulator.policies import CARE, LINKAGE, NHS, POLICE, key_of, officer, sample_policy


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    yield made
    await made.close()


async def refusal(world: World, request_id: str) -> str:
    """The code with which a request was refused."""
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "refused" and detail.release == b""
    return detail.refusal.partition(":")[0]


async def prepared(world: World, **changes: object) -> DisclosureRequest:
    """A request as `prepare` makes it, unsigned."""
    made = await world.police.disclosure.prepare_request(world.draft(**changes))
    return open_document(DisclosureRequest, Envelope(made.payload_type, made.payload))


async def push(world: World, envelope: Envelope, *, link: bool = True, sender: AgencyId = POLICE) -> None:
    """Hands an envelope to social care as if it had come over the relay, past the police's own checks."""
    message_id = f"{len(world.delivered) + 1:032x}"
    context = SealContext("disclosure-request", str(sender), str(CARE), message_id)
    sealed = seal_to(world.care.keys.sealing_keys[0].public_key, envelope.to_bytes(), context)
    reference = LinkReference(HANDLE_AT_CARE, LINKAGE, EPOCH, Strength.STRONG) if link else None
    message = IncomingMessage(message_id, str(sender), "disclosure-request", sealed, reference)
    world.delivered.append(message)
    await world.care.mailbox.take(AcknowledgingRelay(), message)


def request_envelope(request: DisclosureRequest, *signers: str) -> Envelope:
    return sign_envelope(payload_type(DisclosureRequest), write(request), [key_of(item) for item in signers])


async def dropped_code(world: World) -> str:
    """The code under which social care dropped a message, which it audits; nothing was answered."""
    assert await world.care.queued() == ()
    (body,) = await world.care.bodies("identity-refused")
    return str(body["code"])


BOTH = ("police.investigator", "node police")
BROKEN: dict[str, tuple[Callable[[DisclosureRequest], DisclosureRequest], tuple[str, ...], ErrorCode]] = {
    "no officer signed": (lambda r: r, ("node police",), ErrorCode.SIGNATURE_INVALID),
    "a stranger signed": (lambda r: r, ("mallory", "node police"), ErrorCode.SIGNATURE_INVALID),
    "another officer signed": (lambda r: r, ("police.siro", "node police"), ErrorCode.SIGNATURE_INVALID),
    "two officers signed": (lambda r: r, (*BOTH, "police.siro"), ErrorCode.SIGNATURE_INVALID),
    "a role that the officer has not": (
        lambda r: replace(r, role=OfficerRole.MARAC_COORDINATOR), BOTH, ErrorCode.OFFICER_UNKNOWN,
    ),
    "an officer of another agency": (
        lambda r: replace(r, officer=PersonId("nhs.investigator")),
        ("nhs.investigator", "node police"),
        ErrorCode.OFFICER_UNKNOWN,
    ),
    "in another agency's name": (
        lambda r: replace(r, requester=NHS, officer=PersonId("nhs.investigator")),
        ("nhs.investigator", "node nhs", "node police"),
        ErrorCode.ACTING_FOR_ANOTHER,
    ),
    "meant for another agency": (lambda r: replace(r, provider=NHS), BOTH, ErrorCode.REQUEST_INVALID),
    "dated in the future": (
        lambda r: replace(r, created=r.created + timedelta(hours=1)), BOTH, ErrorCode.REQUEST_INVALID,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
async def test_what_is_no_request_is_dropped_and_audited(world: World, case: str) -> None:
    change, signers, code = BROKEN[case]
    await push(world, request_envelope(change(await prepared(world)), *signers))
    assert await dropped_code(world) == code
    assert await world.care.disclosure.list_requests("received") == []


async def test_a_request_without_a_link_is_dropped(world: World) -> None:
    await push(world, request_envelope(await prepared(world), *BOTH), link=False)
    assert await dropped_code(world) == ErrorCode.REQUEST_INVALID


async def test_a_tampered_message_is_dropped(world: World) -> None:
    await world.ask()

    def flip(message: IncomingMessage) -> IncomingMessage:
        return replace(message, sealed=message.sealed[:-1] + bytes([message.sealed[-1] ^ 1]))

    await world.deliver(flip)
    assert await dropped_code(world) == ErrorCode.MESSAGE_TAMPERED


async def test_a_replayed_request_is_answered_once(world: World) -> None:
    await world.ask()
    await world.deliver()
    before = await world.care.actions()
    first = world.delivered[0]
    await world.care.mailbox.take(AcknowledgingRelay(), first)
    assert await world.care.actions() == before
    envelope = request_envelope(await prepared(world), *BOTH)
    await push(world, envelope)
    await push(world, envelope)  # in another message
    bodies = await world.care.bodies("identity-refused")
    assert [body["code"] for body in bodies] == [ErrorCode.REQUEST_REPLAYED]
    released = [item for item in await world.care.actions() if item == "disclosure-released"]
    assert len(released) == 2


async def test_evidence_of_one_request_is_none_for_another(world: World) -> None:
    request = replace(await prepared(world), id=DocumentId("f" * 32))
    await push(world, request_envelope(request, *BOTH))
    (body,) = await world.care.bodies("disclosure-refused")
    assert body["code"] == "identity_not_confirmed"


async def test_a_request_that_came_too_late_is_answered_so(world: World) -> None:
    request_id = await world.ask()
    world.clock.advance(days=7)
    await world.deliver()
    assert await refusal(world, request_id) == "request_expired"


async def test_a_waiting_request_runs_out(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    world.clock.advance(days=7)
    await world.care.disclosure.keep_house()
    await world.deliver()
    assert await refusal(world, request_id) == "request_expired"


async def test_an_expired_registry_decides_nothing(world: World) -> None:
    await world.ask()
    registry = world.registries.registry
    world.registries.registry = replace(registry, expires=world.clock.now)
    await world.deliver()
    assert await world.care.actions() == [] and await world.care.queued() == ()
    with pytest.raises(RefusedError) as refused:
        await world.ask()
    assert refused.value.code is ErrorCode.TRUST_EXPIRED


async def test_an_officer_who_left_while_the_request_waited(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    registry = world.registries.registry
    stays = tuple(item for item in registry.officers if item.person != "police.investigator")
    world.registries.registry = replace(registry, officers=stays)
    with pytest.raises(RefusedError) as refused:
        await world.approve(request_id, world.care, "care.approver", "approver")
    assert refused.value.code in (ErrorCode.OFFICER_UNKNOWN, ErrorCode.SIGNATURE_INVALID)
    assert "disclosure-released" not in await world.care.actions()


# -- the policy at that moment


async def suspend(world: World) -> None:
    event = PolicyEvent(
        policy=world.policy.id,
        document_hash=Hash256(world.policy_hash),
        sequence=0,
        action=PolicyAction.SUSPEND,
        organisation=CARE,
        role=OfficerRole.SIRO,
        signed_at=world.clock.now,
        reason=Prose("A concern was raised."),
    )
    envelope = sign_event(event, key_of("care.siro"))
    async with world.care.store.transaction() as tx:
        await world.care.book.accept_event(
            tx, world.policy_hash, envelope.to_bytes(), world.registries.registry, world.clock.now
        )


async def test_an_expired_policy() -> None:
    policy = sample_policy()
    policy = replace(policy, not_after=policy.not_before + timedelta(days=3), review_by=policy.not_before)
    world = await make_world(policy=policy)
    request_id = await world.ask()
    world.clock.advance(days=3)
    await world.deliver()
    assert await refusal(world, request_id) == "policy_not_in_force"
    await world.close()


@pytest.mark.parametrize("left_out", [0, 2])
async def test_a_policy_with_one_signature_missing(left_out: int) -> None:
    world = await make_world()
    request_id = await world.ask()
    signers = [item for number, item in enumerate(POLICY_SIGNERS) if number != left_out]
    async with world.care.store.transaction() as tx:
        bundle = signed_bundle(world.policy, signers)
        await tx.documents.put(world.policy_hash, bundle, world.clock.now)
    await world.deliver()
    assert await refusal(world, request_id) == "policy_not_in_force"
    await world.close()


async def test_a_policy_with_one_officer_in_two_roles() -> None:
    """Social care's SIRO holds the guardian's role too, under a second key, and signs with both."""
    world = await make_world()
    registry = world.registries.registry
    others = tuple(item for item in registry.officers if item.person not in ("care.siro", "care.guardian"))
    first = officer("care.siro", CARE, OfficerRole.SIRO)
    second = officer("care.guardian", CARE, OfficerRole.CALDICOTT_GUARDIAN)
    request_id = await world.ask()
    both = (*others, first, replace(second, person=PersonId("care.siro")))
    world.registries.registry = replace(registry, officers=both)
    await world.deliver()
    assert await refusal(world, request_id) == "policy_not_in_force"
    (body,) = await world.care.bodies("disclosure-refused")
    assert "Caldicott Guardian" in str(body["why"])
    await world.close()


async def test_a_policy_in_which_one_key_signed_twice(world: World) -> None:
    request_id = await world.ask()
    async with world.care.store.transaction() as tx:
        bundle = signed_bundle(world.policy, [*POLICY_SIGNERS, POLICY_SIGNERS[0]])
        await tx.documents.put(world.policy_hash, bundle, world.clock.now)
    await world.deliver()
    assert await refusal(world, request_id) == "policy_not_in_force"


async def test_a_suspended_policy_even_while_the_request_waits(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    await suspend(world)
    assert await world.approve(request_id, world.care, "care.approver", "approver") == "refused"
    await world.deliver()
    assert await refusal(world, request_id) == "policy_not_in_force"
    decision = await world.care.disclosure.get_request(request_id)
    assert decision.refusal.startswith("policy_not_in_force")


async def test_a_stale_status_lets_only_existence_be_asked(world: World) -> None:
    world.clock.advance(minutes=11)
    with pytest.raises(RefusedError, match="stale") as refused:
        await world.ask(tier=1)
    assert refused.value.code is ErrorCode.POLICY_NOT_ACTIVE
    await world.ask(tier=0)


# -- the subject


@pytest.mark.parametrize("handle", [DECOY_AT_CARE, b"unknown handle.."])
async def test_a_decoy_is_answered_as_if_nothing_were_there(world: World, handle: bytes) -> None:
    world.handle = handle
    request_id = await world.ask()
    await world.deliver()
    assert await refusal(world, request_id) == "not_available"
    (body,) = await world.care.bodies("disclosure-refused")
    assert body.get("alarm") == ("probing" if handle == DECOY_AT_CARE else None)


async def test_a_decoy_waits_for_approval_like_anybody(world: World) -> None:
    world.handle = DECOY_AT_CARE
    request_id = await world.ask(tier=2)
    await world.deliver()
    assert (await world.care.disclosure.get_request(request_id)).summary.state == "waiting"
    assert await world.approve(request_id, world.care, "care.approver", "approver") == "refused"


async def test_a_handle_that_the_broker_swapped(world: World) -> None:
    world.handle = OTHER_AT_CARE
    request_id = await world.ask()
    await world.deliver()
    assert await refusal(world, request_id) == "not_available"
    (body,) = await world.care.bodies("disclosure-refused")
    assert body["alarm"] == "identity"


async def test_a_source_that_fails_denies_and_is_on_record(world: World) -> None:
    world.care.records.fails = True
    request_id = await world.ask()
    await world.deliver()
    assert await refusal(world, request_id) == "not_available"
    (body,) = await world.care.bodies("disclosure-refused")
    assert body["why"] == "error: RuntimeError"


async def test_a_policy_engine_that_fails_denies_and_is_on_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("engine")

    monkeypatch.setattr("agency_node.disclosure.holder.weigh", broken)
    request_id = await world.ask()
    await world.deliver()
    assert await refusal(world, request_id) == "not_available"
    assert "disclosure-refused" in await world.care.actions()


# -- the policy's limits


@pytest.mark.parametrize(("per_officer", "per_purpose"), [(2, 200), (200, 2)])
async def test_daily_limits(per_officer: int, per_purpose: int) -> None:
    limits = replace(
        sample_policy().safeguards,
        requests_per_officer_per_day=per_officer,
        requests_per_purpose_per_day=per_purpose,
    )
    world = await make_world(policy=sample_policy(safeguards=limits))
    for _ in range(2):
        await world.ask(tier=0)
    last = await world.ask(tier=0)
    await world.deliver()
    assert await refusal(world, last) == "limit_reached"
    world.clock.advance(days=1)
    await world.refresh_status()
    tomorrow = await world.ask(tier=0)
    await world.deliver()
    assert (await world.police.disclosure.get_request(tomorrow)).summary.state == "released"
    await world.close()


async def test_no_case_reference(world: World) -> None:
    with pytest.raises(RefusedError, match="case reference"):
        await world.ask(case_reference="---")
    request = replace(await prepared(world), case_reference=Line("--"))
    await push(world, request_envelope(request, *BOTH))
    (body,) = await world.care.bodies("disclosure-refused")
    assert body["code"] == "not_permitted"


# -- refused before anything is sent

DRAFTS: dict[str, tuple[dict[str, object], ErrorCode, str]] = {
    "no such token": ({"link_token": "a" * 26}, ErrorCode.TOKEN_UNKNOWN, "not held here"),
    "no token at all": ({"link_token": "nonsense"}, ErrorCode.TOKEN_UNKNOWN, "not a link token"),
    "a purpose of no policy": (
        {"purpose": "missing_person"},
        ErrorCode.REQUEST_INVALID,
        "not for this purpose",
    ),
    "no purpose": ({"purpose": "curiosity"}, ErrorCode.REQUEST_INVALID, "cannot be understood"),
    "a safe address": ({"fields": ("safe_address",)}, ErrorCode.REQUEST_INVALID, "safe address"),
    "unknown fields": ({"fields": ("shoe_size",)}, ErrorCode.REQUEST_INVALID, "none of these fields"),
    "an unknown officer": ({"officer": "nobody"}, ErrorCode.OFFICER_UNKNOWN, "does not list"),
    "a role not held": ({"role": "marac_coordinator"}, ErrorCode.OFFICER_UNKNOWN, "does not list"),
    "no necessity": ({"necessity": ""}, ErrorCode.REQUEST_INVALID, "not complete"),
}


@pytest.mark.parametrize("case", DRAFTS)
async def test_a_draft_that_cannot_become_a_request(world: World, case: str) -> None:
    changes, code, words = DRAFTS[case]
    with pytest.raises(RefusedError, match=words) as refused:
        await world.police.disclosure.prepare_request(world.draft(**changes))
    assert refused.value.code is code
    assert await world.police.actions() == [] and await world.police.queued() == ()


async def test_a_hidden_agency_cannot_be_asked(world: World) -> None:
    async with world.police.store.transaction() as tx:
        expires = world.clock.now + timedelta(days=1)
        hidden = KnownLink(TOKEN.raw, HANDLE_AT_POLICE, LINKAGE, EPOCH, None, Strength.STRONG, "", expires)
        await tx.links.put([hidden])
    with pytest.raises(RefusedError, match="not named") as refused:
        await world.ask()
    assert refused.value.code is ErrorCode.NOT_ALLOWED


async def test_an_expired_token(world: World) -> None:
    world.clock.advance(days=29, hours=23)
    registry = world.registries.registry
    world.registries.registry = replace(registry, expires=world.clock.now + timedelta(days=30))
    world.clock.advance(hours=2)
    with pytest.raises(RefusedError) as refused:
        await world.ask()
    assert refused.value.code is ErrorCode.TOKEN_UNKNOWN


async def test_submit_takes_only_the_officers_signature_and_only_once(world: World) -> None:
    request = await prepared(world)
    submit = world.police.disclosure.submit_request
    for signers in (("police.siro",), ("police.investigator", "police.siro"), ("mallory",)):
        with pytest.raises(RefusedError) as refused:
            await submit(request_envelope(request, *signers).to_bytes())
        assert refused.value.code is ErrorCode.SIGNATURE_INVALID
    signed = request_envelope(request, "police.investigator").to_bytes()
    await submit(signed)
    with pytest.raises(RefusedError) as refused:
        await submit(signed)
    assert refused.value.code is ErrorCode.REQUEST_REPLAYED


# -- answers


async def test_an_answer_by_the_wrong_agency_or_to_no_question_is_dropped(world: World) -> None:
    await world.ask()
    await world.deliver()
    answer = next(item for item in world.delivered if item.purpose == "disclosure-answer")
    forged = replace(answer, message_id="0" * 32)
    await world.police.mailbox.take(AcknowledgingRelay(), forged)
    (body,) = await world.police.bodies("identity-refused")
    assert body["code"] == ErrorCode.MESSAGE_TAMPERED


async def test_a_release_with_more_than_was_asked_is_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = await world.ask(tier=1)
    async with world.police.store.transaction() as tx:
        stored = await tx.requests.get(Direction.MADE, request_id)
    assert stored is not None
    monkeypatch.setattr(
        "agency_node.disclosure.requester.require_fitting",
        _strictly("agency_node.disclosure.asks.require_fitting"),
    )
    await world.deliver()
    assert (await world.police.disclosure.get_request(request_id)).summary.state == "sent"
    (body,) = await world.police.bodies("identity-refused")
    assert body["code"] == ErrorCode.REQUEST_INVALID


def _strictly(_name: str) -> Callable[..., None]:
    from agency_node.disclosure import asks

    def check(release: object, request: DisclosureRequest, *rest: object) -> None:
        narrowed = replace(request, asks=request.asks[:1])
        asks.require_fitting(release, narrowed, *rest)  # type: ignore[arg-type] # passed on as they came

    return check
