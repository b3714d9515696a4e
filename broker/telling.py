"""Who may be told of which link: pure functions from matched pairs and active policies to tokens.

A link is told to one recipient about one provider under one policy, and only where that policy, evaluated
as at any disclosure, permits at tier 0 that the link's existence be known at its strength.

Where a policy withholds the name, its end would give the policy away, and with it the name. Such links are
told on a lease that ends for all of them at the same moment, and is renewed long before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from broker.catalogue import HeldPolicy
from broker.store.model import MatchedPair, NewEvent, Subject, TokenRecord
from crypto.tokens import LinkToken
from policies.access import Asker, FieldRequest, Permit
from policies.clauses import LINK_AGENCY, LINK_EXISTS, LINK_RECORD, NO_APPROVALS
from policies.ids import AgencyId, FieldName
from policies.vocabulary import Consent
from policies.vocabulary import Strength as PolicyStrength
from protos.wire.linkage import LinkEventKind, Strength

LEASE_STEP = timedelta(days=7)
_DAY = timedelta(days=1)
_ZERO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Existence:
    """That a recipient may know of a link; `named` is whether it may know with whom.

    It ends at `expires`; the recipient is told `told_until`.
    """

    policy_hash: str
    expires: datetime
    told_until: datetime
    named: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A link that may be told."""

    recipient: Subject
    counterpart: Subject
    strength: Strength
    existence: Existence

    @property
    def key(self) -> tuple[str, Subject, Subject]:
        """What a token is for: it stays the same as long as this does."""
        return (self.existence.policy_hash, self.recipient, self.counterpart)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """How the told tokens must change."""

    put: tuple[TokenRecord, ...]
    gone: tuple[TokenRecord, ...]
    events: tuple[NewEvent, ...]


class Permissions:
    """What the active policies of one linkage let agencies know; answers are kept for its life."""

    def __init__(self, policies: Sequence[HeldPolicy], now: datetime) -> None:
        self._policies = policies
        self._now = now
        self._known: dict[tuple[str, str, Strength], tuple[Existence, ...]] = {}

    def of(self, recipient: str, provider: str, strength: Strength) -> tuple[Existence, ...]:
        """Under which policies a recipient may know of a link with a provider."""
        key = (recipient, provider, strength)
        if key not in self._known:
            found = (_existence(held, recipient, provider, strength, self._now) for held in self._policies)
            self._known[key] = tuple(item for item in found if item is not None)
        return self._known[key]

    def tellable(self, pairs: Iterable[MatchedPair]) -> Iterator[Told]:
        """Every link that may be told, in both directions."""
        for pair in pairs:
            for recipient, counterpart in ((pair.first, pair.second), (pair.second, pair.first)):
                for existence in self.of(recipient.agency, counterpart.agency, pair.strength):
                    yield Told(recipient, counterpart, pair.strength, existence)


def reconcile(
    linkage: str,
    epoch: int,
    told: Iterable[Told],
    tokens: Iterable[TokenRecord],
    rng_bytes: Callable[[int], bytes],
) -> Reconciliation:
    """From the tokens that are out to the links that may be told. Tokens of unchanged links stay."""
    held = {(item.policy_hash, item.recipient, item.counterpart): item for item in tokens}
    put: list[TokenRecord] = []
    events: list[NewEvent] = []
    for item in told:
        known = held.pop(item.key, None)
        if known is None:
            record = TokenRecord(
                token=LinkToken.new(rng_bytes).raw,
                linkage=linkage,
                policy_hash=item.existence.policy_hash,
                recipient=item.recipient,
                counterpart=item.counterpart,
                epoch=epoch,
                strength=item.strength,
                expires=item.existence.expires,
                told_until=item.existence.told_until,
                named=item.existence.named,
            )
            kind = LinkEventKind.TOLD
        else:
            record = replace(
                known,
                epoch=epoch,
                strength=item.strength,
                expires=item.existence.expires,
                told_until=item.existence.told_until,
                named=item.existence.named,
            )
            kind = LinkEventKind.CHANGED
        if record != known:
            put.append(record)
            events.append(NewEvent(record.recipient.agency, kind, record.link()))
    gone = tuple(held.values())
    events += [NewEvent(item.recipient.agency, LinkEventKind.RECALLED, item.link()) for item in gone]
    # In the order of random tokens, so that the order of events says nothing about who is linked to whom.
    events.sort(key=lambda event: event.link.token)
    return Reconciliation(tuple(put), gone, tuple(events))


def lease_number(now: datetime) -> int:
    """Which step of the common grid a moment is in."""
    return (now - _ZERO) // LEASE_STEP


def lease_end(now: datetime, end: datetime) -> datetime:
    """Until when a link of a withheld name is told to live: one to two steps, and never beyond its true end.

    Towards the end it is the beginning of the last day: the hour may differ from policy to policy.
    """
    common = _ZERO + (lease_number(now) + 2) * LEASE_STEP
    return min(common, _ZERO + (end - _ZERO) // _DAY * _DAY)


def _existence(
    held: HeldPolicy, recipient: str, provider: str, strength: Strength, now: datetime
) -> Existence | None:
    policy = held.policy
    if recipient not in policy.recipients or provider not in policy.providers or recipient == provider:
        return None
    exists = named = False
    for clause in policy.releases:
        if clause.tier != 0 or LINK_RECORD not in clause.record_types:
            continue
        for role in clause.officer_roles:
            for purpose in clause.purposes:
                asker = Asker(
                    provider=AgencyId(provider),
                    recipient=AgencyId(recipient),
                    role=role,
                    purpose=purpose,
                    tier=0,
                    strength=PolicyStrength(strength.value),
                    consent=Consent.NOT_RECORDED,
                    approvals=NO_APPROVALS,
                )
                exists = exists or _permits(held, asker, LINK_EXISTS)
                named = named or _permits(held, asker, LINK_AGENCY)
    if not exists:
        return None
    end = policy.not_after
    return Existence(held.hash, end, end if named else lease_end(now, end), named)


def _permits(held: HeldPolicy, asker: Asker, field: FieldName) -> bool:
    decision = held.evaluator.decide_one(asker, FieldRequest(LINK_RECORD, field, 0), ceiling=0)
    return isinstance(decision, Permit)
