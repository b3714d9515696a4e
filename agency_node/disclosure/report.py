"""Who saw what about a subject, when, and under which clauses: for a subject access request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agency_node.audit import ReadEntry
from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.held import held_policy
from agency_node.rpc.ports import SubjectEntry
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, AuditDetails
from crypto.canonical import JsonInput, JsonValue
from policies.ids import AgencyId
from policies.parties import Party
from policies.sharing import SharingPolicy
from policies.vocabulary import Purpose, Regime

_SHOWN = frozenset(
    {
        AuditAction.DISCLOSURE_RELEASED,
        AuditAction.DISCLOSURE_RECEIVED,
        AuditAction.DISCLOSURE_REFUSED,
        AuditAction.DISCLOSURE_REQUESTED,
        AuditAction.BREAK_GLASS_INVOKED,
        AuditAction.APPROVAL_GIVEN,
        AuditAction.BREAK_GLASS_REVIEWED,
        AuditAction.WITHDRAWN,
        AuditAction.REQUEST_EXPIRED,
        AuditAction.PURGED,
        AuditAction.CONSULTED,
        AuditAction.LINKS_TOLD,
        AuditAction.LINKS_RECALLED,
    }
)
_COUNTERPART = ("requester", "provider", "counterpart")
_IN_CRISIS = frozenset({AuditAction.BREAK_GLASS_INVOKED, AuditAction.BREAK_GLASS_REVIEWED})
#: Whoever causes the harm may stand beside the person who asks.
_AT_RISK = frozenset(
    {
        Purpose.DOMESTIC_ABUSE_RISK,
        Purpose.DOMESTIC_VIOLENCE_DISCLOSURE,
        Purpose.SAFEGUARDING_ADULTS,
        Purpose.SAFEGUARDING_CHILDREN,
    }
)


async def subject_report(context: DisclosureContext, subject: SubjectId) -> tuple[SubjectEntry, ...]:
    """Every link told, request, release, refusal, use of break-glass, look and purge, oldest first.

    Empty where there is none, or where the entries' details were erased.
    """
    async with context.store.transaction() as tx:
        policies: dict[str, SharingPolicy | None] = {}
        found = []
        for item in await context.log.about(tx, subject):
            if item.details is None or item.entry.leaf.action not in _SHOWN:
                continue
            policy_hash = item.entry.leaf.policy or ""
            if policy_hash not in policies:
                policies[policy_hash] = await held_policy(tx, policy_hash)
            found.append(_entry(item, item.details, policies[policy_hash], context.me))
    return tuple(found)


def _entry(
    item: ReadEntry, details: AuditDetails, policy: SharingPolicy | None, me: AgencyId
) -> SubjectEntry:
    leaf = item.entry.leaf
    return SubjectEntry(
        leaf.seq,
        leaf.time,
        leaf.action,
        details.actor,
        leaf.policy or "",
        _plain(details.body),
        tuple(exemptions_of(leaf.action, details.body, policy, me)),
    )


def exemptions_of(
    action: AuditAction, body: Mapping[str, JsonInput], policy: SharingPolicy | None, me: AgencyId
) -> Iterator[str]:
    """What somebody must weigh before the subject is told; which exemption holds is for people to say."""
    if action is AuditAction.CONSULTED:
        yield "an officer of this agency looked: could telling prejudice an inquiry, or harm anybody?"
        if body.get("code") == "conflict_of_interest":
            yield "misuse is suspected: could telling prejudice the inquiry into it?"
        return
    if policy is None:
        yield "the policy is no longer held: what it says of the parties is not known"
        return
    parties = _concerned(body, policy, me)
    if parties is None:
        yield "an agency is named that is no party to the policy: what law it works under is not known"
        parties = policy.parties
    if any(party.regime is Regime.PART3 for party in parties):
        yield "law enforcement processing (Part 3 DPA 2018): could telling prejudice an inquiry?"
    if any(party.health_or_care_data for party in parties):
        yield "health or social-care data (Schedule 3 DPA 2018): could telling cause serious harm to anybody?"
    if _AT_RISK & set(policy.purposes):
        yield "it protects a person at risk: could whoever causes the harm come to know of it?"
    if any(party.name_withheld for party in parties):
        yield "the policy withholds an agency's name"
    if action in _IN_CRISIS or body.get("emergency") is True:
        yield "an emergency: could telling cause serious harm to anybody?"
    if "alarm" in body or body.get("code") == "conflict_of_interest":
        yield "misuse is suspected: could telling prejudice the inquiry into it?"


def _concerned(
    body: Mapping[str, JsonInput], policy: SharingPolicy, me: AgencyId
) -> tuple[Party, ...] | None:
    """The parties that an entry is about: this agency and the other, or all where the entry does not say who
    that is. None where somebody is named who is no party.
    """
    named = {str(value) for name in _COUNTERPART if (value := body.get(name))} - {str(me)}
    if not named:
        return policy.parties
    concerned = tuple(party for party in policy.parties if party.agency in named | {me})
    return concerned if {str(party.agency) for party in concerned} == named | {str(me)} else None


def _plain(body: object) -> dict[str, JsonValue]:
    if not isinstance(body, dict):
        raise TypeError("the body of audit details is an object")
    return dict(body)
