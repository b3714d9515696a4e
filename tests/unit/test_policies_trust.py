"""Root and registry: rotation and the named attacks of The Update Framework."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from crypto.envelope import Envelope, Signature, sign_envelope
from policies.codec import Document, document_hash, payload_type, write
from policies.errors import (
    ExpiredError,
    RollbackError,
    ThresholdError,
    TrustError,
    VersionSkipError,
    WrongFederationError,
)
from policies.ids import AgencyId, FederationId, Hash256, PersonId
from policies.registry import Officer, Registry
from policies.root import Root, RootKey
from policies.trust import TrustedRegistry
from policies.vocabulary import OfficerRole
from tests.simulator.policies import CARE, FEDERATION, NHS, NOW, POLICE, FederationSimulator, key_of, officer

SIMULATOR = FederationSimulator()


def _bytes(document: Document, *holders: str) -> bytes:
    return SIMULATOR.root_signed(document, holders or ("root.ada", "root.bob")).to_bytes()


def _trusted(registry: Registry | None = None) -> TrustedRegistry:
    root = SIMULATOR.root()
    trusted = TrustedRegistry.from_anchor(_bytes(root), Hash256(document_hash(root)))
    return trusted.update_registry(_bytes(registry), NOW) if registry else trusted


@dataclass(frozen=True)
class RootCase:
    name: str
    keys: Sequence[tuple[str, str, AgencyId]]  # key label, person, organisation
    threshold: int
    organisations: int
    signers: Sequence[str]
    error: type[Exception] | None


ADA, BOB, CYD = ("root.ada", "ada", POLICE), ("root.bob", "bob", CARE), ("root.cyd", "cyd", NHS)
ADA_2 = ("root.ada2", "ada", POLICE)
DEE = ("root.dee", "dee", POLICE)
ROOTS = [
    RootCase("one of one", [ADA], 1, 1, ["root.ada"], None),
    RootCase("nobody signed", [ADA], 1, 1, [], ThresholdError),
    RootCase("two of three", [ADA, BOB, CYD], 2, 2, ["root.ada", "root.cyd"], None),
    RootCase("one of two", [ADA, BOB, CYD], 2, 2, ["root.ada"], ThresholdError),
    RootCase("a stranger does not count", [ADA, BOB], 2, 2, ["root.ada", "root.eve"], ThresholdError),
    RootCase("a person's second key does not count", [ADA, ADA_2, BOB], 2, 2, ["root.ada", "root.ada2"],
             ThresholdError),
    RootCase("a person's either key will do", [ADA, ADA_2, BOB], 2, 2, ["root.ada2", "root.bob"], None),
    RootCase("one organisation is not two", [ADA, DEE, BOB], 2, 2, ["root.ada", "root.dee"], ThresholdError),
    RootCase("one organisation where one is asked", [ADA, DEE, BOB], 2, 1, ["root.ada", "root.dee"], None),
]  # fmt: skip


def _root(case: RootCase, version: int = 1) -> Root:
    return Root(
        federation=FEDERATION,
        version=version,
        expires=NOW + timedelta(days=100),
        threshold=case.threshold,
        minimum_organisations=case.organisations,
        keys=tuple(RootKey(PersonId(p), org, key_of(label).verify_key) for label, p, org in case.keys),
    )


@pytest.mark.parametrize("case", ROOTS, ids=lambda case: case.name)
def test_thresholds(case: RootCase) -> None:
    root = _root(case)
    data = _bytes_by(root, case.signers)
    anchor = Hash256(document_hash(root))
    if case.error is None:
        assert TrustedRegistry.from_anchor(data, anchor).root == root
    else:
        with pytest.raises(case.error):
            TrustedRegistry.from_anchor(data, anchor)


def _bytes_by(document: Document, signers: Sequence[str]) -> bytes:
    return sign_envelope(
        payload_type(type(document)), write(document), [key_of(label) for label in signers]
    ).to_bytes()


def test_same_key_under_two_ids_counts_once() -> None:
    """The known trap of DSSE libraries: one public key, two key ids, a threshold of two."""
    root = SIMULATOR.root()
    once = SIMULATOR.root_signed(root, ["root.ada"])
    signature = once.signatures[0]
    twice = sorted([signature, Signature("0" * 64, signature.value)], key=lambda item: item.key_id)
    forged = Envelope(once.payload_type, once.payload, tuple(twice))
    with pytest.raises(ThresholdError, match="1 of the 2 persons"):
        TrustedRegistry.from_anchor(forged.to_bytes(), Hash256(document_hash(root)))


def test_a_root_cannot_list_a_key_twice() -> None:
    with pytest.raises(ValueError, match="lists a key twice"):
        _root(RootCase("", [ADA, ("root.ada", "bob", CARE)], 1, 1, [], None))


@pytest.mark.parametrize(("threshold", "organisations"), [(0, 1), (3, 1), (2, 3), (1, 2), (2, 0)])
def test_a_root_cannot_ask_for_what_its_keys_cannot_give(threshold: int, organisations: int) -> None:
    with pytest.raises(ValueError, match="must be from 1"):
        _root(RootCase("", [ADA, ADA_2, BOB], threshold, organisations, [], None))


def test_the_anchor_decides() -> None:
    other = SIMULATOR.root(days=10)
    with pytest.raises(TrustError, match="not the one that the anchor names"):
        TrustedRegistry.from_anchor(_bytes(other), Hash256(document_hash(SIMULATOR.root())))


ROTATED = FederationSimulator(root_holders=(("root.dee", POLICE), ("root.eli", CARE), ("root.cyd", NHS)))
ROTATIONS: list[tuple[str, Root, Sequence[str], type[Exception] | None]] = [
    ("signed by old and new", ROTATED.root(2), ["root.ada", "root.bob", "root.dee", "root.eli"], None),
    ("a key in both counts for both", ROTATED.root(2), ["root.ada", "root.cyd", "root.dee"], None),
    ("only by the new", ROTATED.root(2), ["root.dee", "root.eli"], ThresholdError),
    ("only by the old", ROTATED.root(2), ["root.ada", "root.bob"], ThresholdError),
    ("one old is too few", ROTATED.root(2), ["root.ada", "root.dee", "root.eli"], ThresholdError),
    ("same version", SIMULATOR.root(1, days=300), ["root.ada", "root.bob"], RollbackError),
    ("a version left out", SIMULATOR.root(3), ["root.ada", "root.bob"], VersionSkipError),
    (
        "another federation",
        replace(SIMULATOR.root(2), federation=FederationId("elsewhere")),
        ["root.ada", "root.bob"],
        WrongFederationError,
    ),
]


@pytest.mark.parametrize(
    ("root", "signers", "error"), [case[1:] for case in ROTATIONS], ids=[c[0] for c in ROTATIONS]
)
def test_rotation(root: Root, signers: Sequence[str], error: type[Exception] | None) -> None:
    trusted = _trusted()
    if error is None:
        assert trusted.update_root(_bytes_by(root, signers)).root.version == 2
    else:
        with pytest.raises(error):
            trusted.update_root(_bytes_by(root, signers))
    assert trusted.root.version == 1


def test_a_registry_under_replaced_keys_is_refused() -> None:
    trusted = _trusted().update_root(
        _bytes_by(ROTATED.root(2), ["root.ada", "root.bob", "root.dee", "root.eli"])
    )
    with pytest.raises(ThresholdError):
        trusted.update_registry(_bytes(SIMULATOR.registry()), NOW)


def test_fast_forward_is_recovered_from_by_replacing_the_stolen_keys() -> None:
    stolen = _trusted(SIMULATOR.registry(version=2**40))
    with pytest.raises(RollbackError):
        stolen.update_registry(_bytes(SIMULATOR.registry(version=2)), NOW)
    clean = stolen.update_root(_bytes_by(ROTATED.root(2), ["root.ada", "root.bob", "root.dee", "root.eli"]))
    assert clean.registry is None
    assert clean.update_registry(_bytes(SIMULATOR.registry(version=2), "root.dee", "root.eli"), NOW).registry


def test_a_rotation_that_keeps_the_keys_keeps_the_memory() -> None:
    trusted = _trusted(SIMULATOR.registry(version=5)).update_root(_bytes(SIMULATOR.root(2)))
    with pytest.raises(RollbackError):
        trusted.update_registry(_bytes(SIMULATOR.registry(version=4)), NOW)


def _replayed(roots: Sequence[bytes], registry: bytes | None) -> TrustedRegistry:
    anchor = Hash256(Envelope.from_bytes(roots[0]).digest)
    return TrustedRegistry.replayed(anchor, roots, registry, NOW + timedelta(days=31))


def test_a_restart_changes_nothing_for_an_expired_registry_whose_signer_was_replaced() -> None:
    """Ada and Cyd stay, which is the threshold, so the memory of what Ada and Bob signed stays too."""
    first, kept = _bytes(SIMULATOR.root()), _bytes(SIMULATOR.registry(version=5, minimum_version=4))
    dee = RootKey(PersonId("dee"), POLICE, key_of("root.dee").verify_key)
    keys = tuple(dee if item.person == "root.bob" else item for item in SIMULATOR.root().keys)
    second = _bytes(replace(SIMULATOR.root(2), keys=keys), "root.ada", "root.cyd")
    running = _trusted(SIMULATOR.registry(version=5, minimum_version=4)).update_root(second)
    restarted = _replayed([first, second], kept)
    assert restarted == running
    older = SIMULATOR.registry(version=4, minimum_version=4, days=60)
    with pytest.raises(RollbackError):
        restarted.update_registry(_bytes(older, "root.ada", "root.cyd"), NOW)


def test_a_restart_does_not_undo_the_recovery_from_a_fast_forward() -> None:
    stolen = _bytes(SIMULATOR.registry(version=2**40))
    recovery = _bytes_by(ROTATED.root(2), ["root.ada", "root.bob", "root.dee", "root.eli"])
    clean = _replayed([_bytes(SIMULATOR.root()), recovery], stolen)
    assert clean.registry is None
    assert clean.update_registry(_bytes(SIMULATOR.registry(version=2), "root.dee", "root.eli"), NOW).registry


def test_a_kept_registry_that_no_root_signed_is_refused() -> None:
    with pytest.raises(TrustError, match="none of the roots"):
        _replayed([_bytes(SIMULATOR.root())], _bytes(SIMULATOR.registry(), "root.ada"))


REGISTRIES: list[tuple[str, Registry, type[Exception] | None]] = [
    ("newer", SIMULATOR.registry(version=6, minimum_version=3), None),
    ("the same again", SIMULATOR.registry(version=5, minimum_version=3), None),
    ("rollback", SIMULATOR.registry(version=4, minimum_version=3), RollbackError),
    ("equivocation", SIMULATOR.registry(version=5, minimum_version=3, days=31), RollbackError),
    ("lowered minimum", SIMULATOR.registry(version=6, minimum_version=2), RollbackError),
    ("freeze", SIMULATOR.registry(version=6, minimum_version=3, days=0), ExpiredError),
]


@pytest.mark.parametrize(
    ("registry", "error"), [case[1:] for case in REGISTRIES], ids=[c[0] for c in REGISTRIES]
)
def test_registry_updates(registry: Registry, error: type[Exception] | None) -> None:
    trusted = _trusted(SIMULATOR.registry(version=5, minimum_version=3))
    if error is None:
        assert trusted.update_registry(_bytes(registry), NOW).current(NOW) == registry
    else:
        with pytest.raises(error):
            trusted.update_registry(_bytes(registry), NOW)


def test_mix_with_another_federation() -> None:
    foreign = FederationId("elsewhere")
    registry = SIMULATOR.registry()
    mixed = replace(
        registry,
        federation=foreign,
        broker_spiffe=type(registry.broker_spiffe)(f"spiffe://{foreign}/broker"),
        agencies=tuple(
            replace(item, spiffe=type(item.spiffe)(f"spiffe://{foreign}/agency/{item.id}"))
            for item in registry.agencies
        ),
    )
    with pytest.raises(WrongFederationError):
        _trusted().update_registry(_bytes(mixed), NOW)


def test_trust_ends_with_time() -> None:
    trusted = _trusted(SIMULATOR.registry(days=30))
    assert trusted.current(NOW + timedelta(days=29)).version == 1
    with pytest.raises(ExpiredError, match="registry/v1"):
        trusted.current(NOW + timedelta(days=30))
    with pytest.raises(ExpiredError, match="root/v1"):
        trusted.update_registry(_bytes(SIMULATOR.registry(days=900)), NOW + timedelta(days=400))


def test_no_registry_yet() -> None:
    with pytest.raises(TrustError, match="no registry"):
        _trusted().current(NOW)


def test_a_document_of_another_type_is_refused() -> None:
    with pytest.raises(TrustError, match="payload type"):
        _trusted().update_registry(_bytes(SIMULATOR.root()), NOW)
    with pytest.raises(TrustError, match="not an envelope"):
        _trusted().update_registry(b"{}", NOW)


@pytest.mark.parametrize(
    ("officers", "message"),
    [
        (
            (officer("x", POLICE, OfficerRole.IAO), officer("x", CARE, OfficerRole.IAO)),
            "verify key is listed twice",
        ),
        ((officer("x", AgencyId("nowhere"), OfficerRole.IAO),), "not listed"),
    ],
)
def test_registries_that_contradict_themselves(officers: tuple[Officer, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FederationSimulator(officers=officers).registry()


def test_an_officer_without_role_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one role"):
        officer("x", POLICE)
