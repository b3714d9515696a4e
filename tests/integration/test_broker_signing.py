"""At the broker, where documents come into life: lately signed, by officers who are all in post."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.store.memory import MemoryStore
from policies.errors import QuorumNotMetError
from policies.ids import LinkageId, PolicyId
from policies.signing import CLOCK_SKEW
from policies.standing import SIGNING_TIME
from protos.wire.documents import DocumentBundle
from tests.broker_services import BrokerServices
from tests.federation import CARE, POLICE, Federation

DAY = timedelta(days=1)


@pytest.fixture
async def services(tmp_path: Path) -> BrokerServices:
    federation = Federation.create(tmp_path)
    federation.new_registry(expires=federation.now + 300 * DAY)
    return await BrokerServices.create(MemoryStore(), federation, tmp_path)


def bundles(federation: Federation) -> dict[str, DocumentBundle]:
    """A policy and an agreement, signed now."""
    agreement = federation.agreement()
    return {
        "policy": federation.signed_policy(federation.policy(id=PolicyId("wider-policy"))),
        "agreement": federation.signed_agreement(replace(agreement, id=LinkageId("places"))),
    }


@pytest.mark.parametrize("kind", ["policy", "agreement"])
async def test_a_document_that_was_signed_long_ago_does_not_come_into_life(
    services: BrokerServices, kind: str
) -> None:
    federation = services.federation
    bundle = bundles(federation)[kind]
    signed_at = federation.now
    federation.now = signed_at + SIGNING_TIME + timedelta(seconds=1)
    with pytest.raises(QuorumNotMetError, match="within 30 days"):
        await services.documents.publish(CARE, bundle)
    federation.now = signed_at + SIGNING_TIME
    digest = await services.documents.publish(CARE, bundle)
    federation.now = signed_at + 200 * DAY
    assert await services.documents.publish(POLICE, bundle) == digest


@pytest.mark.parametrize("kind", ["policy", "agreement"])
async def test_nor_one_that_an_officer_signed_who_has_left(services: BrokerServices, kind: str) -> None:
    """Though every date in it, the officer's own included, says that it was signed in time."""
    federation = services.federation
    bundle = bundles(federation)[kind]
    officers = tuple(
        replace(item, not_after=federation.now + DAY) if item.person == "police.siro" else item
        for item in federation.registry.officers
    )
    registry = federation.new_registry(officers=officers)
    await services.documents._trust.publish([], registry.to_bytes())
    federation.now += DAY + CLOCK_SKEW
    with pytest.raises(QuorumNotMetError, match="police: SIRO or IAO"):
        await services.documents.publish(CARE, bundle)
    federation.now -= DAY
    digest = await services.documents.publish(CARE, bundle)
    federation.now += 100 * DAY
    assert await services.catalogue.reload()
    if kind == "policy":
        assert services.catalogue.policy(digest) is not None
    else:
        assert services.catalogue.linkage("places").hash == digest
