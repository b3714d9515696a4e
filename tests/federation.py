"""A whole federation in a temporary folder: authority, certificates, trust documents, agreement, policy.

For tests that start a broker or nodes with real TLS. Times are around the real now, because TLS has no other
clock. Signing keys come from labels (`tests.simulator.policies.key_of`), sealing keys are fresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tomli_w

from broker.app import DETAILS_KEY, Broker
from broker.config import BrokerConfig, load_config
from crypto.envelope import Envelope
from crypto.keys import SealingPrivateKey, generate_sealing_key
from crypto.keystore import Argon2Cost, Keystore
from crypto.pki import FederationCa, PeerIdentity, PeerRole, make_key_and_request
from policies.agreement import LinkageAgreement
from policies.clauses import Clause
from policies.codec import document_hash, envelope_of
from policies.ids import AgencyId, Hash256, Prose
from policies.lifecycle import sign_event
from policies.parties import Party
from policies.registry import Registry
from policies.render import page_hash, render_agreement, render_policy
from policies.root import Root
from policies.sharing import SharingPolicy
from policies.signing import sign_statement
from policies.statements import PolicyAction, PolicyEvent, SigningStatement
from policies.vocabulary import Capacity, Decision, OfficerRole
from protos.wire.channels import TlsIdentity
from protos.wire.documents import DocumentBundle, DocumentKind
from tests.simulator import policies as sim
from tests.simulator.policies import CARE, FEDERATION, LINKAGE, NHS, POLICE, REFUGE

PASSPHRASE = "correct horse battery"
CHEAP = Argon2Cost(iterations=1, lanes=1, memory_kib=8 * 1024)
AGENCIES = (POLICE, CARE, NHS, REFUGE)
GUARDED = (CARE, NHS)

__all__ = ["AGENCIES", "CARE", "FEDERATION", "LINKAGE", "NHS", "POLICE", "REFUGE", "Federation"]


@dataclass
class Federation:
    """Made by `Federation.create`. Certificates and keys are written under `folder` as they are asked for."""

    folder: Path
    now: datetime
    ca: FederationCa
    root: Root
    root_envelope: Envelope
    registry: Registry
    registry_envelope: Envelope
    sealing_keys: dict[AgencyId, SealingPrivateKey] = field(repr=False)

    @classmethod
    def create(cls, folder: Path, *, federation: str = FEDERATION) -> Federation:
        """A federation with the simulator's agencies, officers and root holders."""
        now = datetime.now(UTC).replace(microsecond=0)
        makers = sim.FederationSimulator()
        sealing = {name: generate_sealing_key("x25519") for name in AGENCIES}
        root = replace(makers.root(), expires=now + timedelta(days=365))
        base = makers.registry()
        registry = replace(
            base,
            expires=now + timedelta(days=30),
            agencies=tuple(replace(item, sealing_key=sealing[item.id].public_key) for item in base.agencies),
        )
        return cls(
            folder,
            now,
            FederationCa.create(federation, now),
            root,
            makers.root_signed(root),
            registry,
            makers.root_signed(registry),
            sealing,
        )

    # trust ------------------------------------------------------------------------------------------------

    def new_registry(self, **changes: object) -> Envelope:
        """The registry with changes, in the next version, signed by the root holders."""
        self.registry = replace(self.registry, **({"version": self.registry.version + 1} | changes))  # type: ignore[arg-type] # the test names real fields
        self.registry_envelope = sim.FederationSimulator().root_signed(self.registry)
        return self.registry_envelope

    def tls(self, role: PeerRole, name: str, *, ca: FederationCa | None = None) -> TlsIdentity:
        """A certificate of the federation's authority (or another) for an agency or the broker."""
        authority = ca or self.ca
        identity = PeerIdentity(authority.federation, role, name)
        key, request = make_key_and_request(identity)
        broker = role is PeerRole.BROKER
        certificate = authority.issue(
            role,
            name,
            request,
            self.now,
            ip_addresses=["127.0.0.1"] if broker else [],
            dns_names=["localhost"] if broker else [],
        )
        return TlsIdentity(certificate, key, self.ca.certificate_pem)

    def agency(self, name: str) -> TlsIdentity:
        """The TLS identity of an agency's node."""
        return self.tls(PeerRole.AGENCY, name)

    # the broker's files -----------------------------------------------------------------------------------

    def broker_toml(self, **changes: object) -> Path:
        """Writes all files that a broker needs, and returns its configuration."""
        home = self.folder / "broker"
        home.mkdir(exist_ok=True)
        identity = self.tls(PeerRole.BROKER, "broker")
        (home / "tls.crt").write_bytes(identity.certificate)
        (home / "tls.key").write_bytes(identity.private_key)
        (home / "ca.crt").write_bytes(identity.federation_ca)
        (home / "root.json").write_bytes(self.root_envelope.to_bytes())
        (home / "passphrase").write_text(PASSPHRASE)
        if not (home / "keys.json").exists():
            keystore = Keystore.create(home / "keys.json", PASSPHRASE, cost=CHEAP)
            keystore.add_signing("audit", sim.key_of("broker"))
            keystore.add_secret(DETAILS_KEY, bytes(range(32)))
        tree: dict[str, object] = {
            "federation": str(self.ca.federation),
            "listen": "127.0.0.1:0",
            "data_dir": "data",
            "anchor": "root.json",
            "tls": {"certificate": "tls.crt", "key": "tls.key", "federation_ca": "ca.crt"},
            "audit": {"keystore": "keys.json", "passphrase_file": "passphrase"},
            "matching": {"threads": 1},
            "shutdown_seconds": 1,
        }
        path = home / "broker.toml"
        path.write_text(tomli_w.dumps(tree | changes))
        return path

    def broker_config(self, **changes: object) -> BrokerConfig:
        """The configuration of `broker_toml`."""
        return load_config(self.broker_toml(**changes))

    def broker(self, **changes: object) -> Broker:
        """A broker that is not started yet."""
        return Broker.from_config(self.broker_config(**changes), PASSPHRASE)

    # documents --------------------------------------------------------------------------------------------

    def agreement(self, participants: Sequence[AgencyId] = (POLICE, CARE, NHS)) -> LinkageAgreement:
        """The simulator's agreement, in force now."""
        return replace(
            sim.sample_agreement(participants),
            not_before=self.now - timedelta(days=1),
            not_after=self.now + timedelta(days=300),
        )

    def policy(
        self,
        *,
        clauses: tuple[Clause, ...] | None = None,
        parties: tuple[Party, ...] | None = None,
        **changes: object,
    ) -> SharingPolicy:
        """The simulator's policy, now: the police learn from care, and from the NHS without a name."""
        times = {
            "not_before": self.now - timedelta(days=1),
            "not_after": self.now + timedelta(days=300),
            "review_by": self.now + timedelta(days=180),
        }
        given = {"clauses": clauses, "parties": parties}
        return sim.sample_policy(
            **(times | {name: value for name, value in given.items() if value is not None} | changes)
        )

    def signed_agreement(self, agreement: LinkageAgreement, *, without: Iterable[str] = ()) -> DocumentBundle:
        """The agreement with the SIROs' statements, but for those of some agencies."""
        page = page_hash(render_agreement(agreement))
        statements = tuple(
            self.statement(document_hash(agreement), page, name, "siro", OfficerRole.SIRO)
            for name in agreement.agencies
            if name not in set(without)
        )
        return DocumentBundle(DocumentKind.LINKAGE_AGREEMENT, envelope_of(agreement).to_bytes(), statements)

    def signed_policy(self, policy: SharingPolicy, *, without: Iterable[str] = ()) -> DocumentBundle:
        """The policy with the statements of SIROs, and of guardians of health and care providers."""
        page = page_hash(render_policy(policy))
        digest = document_hash(policy)
        left_out = set(without)
        statements = []
        for party in policy.parties:
            if party.agency in left_out:
                continue
            statements.append(self.statement(digest, page, party.agency, "siro", OfficerRole.SIRO))
            if party.agency in GUARDED and party.provides:
                statements.append(
                    self.statement(digest, page, party.agency, "guardian", OfficerRole.CALDICOTT_GUARDIAN)
                )
        return DocumentBundle(DocumentKind.SHARING_POLICY, envelope_of(policy).to_bytes(), tuple(statements))

    def statement(self, digest: str, page: str, agency: AgencyId, officer: str, role: OfficerRole) -> bytes:
        """An officer's approval; officers are called `<agency>.<officer>`."""
        statement = SigningStatement(
            document_hash=Hash256(digest),
            page_hash=Hash256(page),
            organisation=agency,
            role=role,
            decision=Decision.APPROVE,
            signed_at=self.now,
        )
        return sign_statement(statement, sim.key_of(f"{agency}.{officer}")).to_bytes()

    def event(
        self,
        policy: SharingPolicy,
        action: PolicyAction,
        sequence: int,
        *,
        agency: AgencyId = CARE,
        officer: str = "siro",
        role: OfficerRole = OfficerRole.SIRO,
    ) -> bytes:
        """An officer's act upon a policy."""
        event = PolicyEvent(
            policy=policy.id,
            document_hash=Hash256(document_hash(policy)),
            sequence=sequence,
            action=action,
            organisation=agency,
            role=role,
            signed_at=datetime.now(UTC).replace(microsecond=0),
            reason=Prose("For a test."),
        )
        return sign_event(event, sim.key_of(f"{agency}.{officer}")).to_bytes()


def mutual_parties(*agencies: AgencyId, withheld: Iterable[AgencyId] = ()) -> tuple[Party, ...]:
    """Parties that all provide and receive."""
    hidden = set(withheld)
    return tuple(
        sim.party(name, Capacity.PROVIDER, Capacity.RECIPIENT, withheld=name in hidden) for name in agencies
    )
