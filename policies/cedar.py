"""Clauses compiled to Cedar (https://www.cedarpolicy.com), and Cedar's answers read fail-closed.

The Cedar text is generated, never written by hand, and always used with a schema: without one a missing
attribute makes Cedar skip a `forbid`, which fails open. Each clause becomes one policy whose id is
`clause-<number>`. An answer counts only if there are no errors and every reason is a clause of the right
effect; anything else is an error, which denies. Approvals are not Cedar's business: Cedar says which clauses
apply, `policies.evaluate` whether they are approved.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cedarpy

from policies.access import Asker, FieldRequest
from policies.clauses import Clause
from policies.errors import CompilationError
from policies.sharing import SharingPolicy
from policies.vocabulary import Effect

SCHEMA = """
entity Agency;
entity RecordType;
action "learn" appliesTo {
  principal: [Agency],
  resource: [RecordType],
  context: {
    provider: String,
    role: String,
    purpose: String,
    tier: Long,
    strength: Long,
    consent: String,
    field: String,
    markers: Set<String>,
    age_days?: Long,
  }
};
"""
CedarValue: TypeAlias = "str | int | list[str] | dict[str, CedarValue]"


@dataclass(frozen=True, slots=True)
class Applies:
    """Release clauses that apply while no withhold clause does."""

    clauses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Withhold clauses that apply."""

    clauses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NothingApplies:
    """No clause speaks to it."""


@dataclass(frozen=True, slots=True)
class EngineFault:
    """The engine could not decide; `problem` names no data."""

    problem: str


Answer = Applies | Forbidden | NothingApplies | EngineFault


class CompiledPolicy:
    """A policy's clauses as Cedar handles, parsed once."""

    def __init__(self, policy: SharingPolicy) -> None:
        self.text = "\n".join(_policy_text(clause) for clause in policy.clauses)
        self._effects = {f"clause-{item.number}": (item.number, item.effect) for item in policy.clauses}
        self._schema = cedarpy.Schema.from_str(SCHEMA)
        self._entities = cedarpy.Entities.from_json_str("[]")
        verdict = cedarpy.validate_policies(self.text, SCHEMA)
        if not verdict.validation_passed:
            raise CompilationError("; ".join(str(error) for error in verdict.errors))
        self._policies = cedarpy.PolicySet.from_json_str(self._rekeyed())

    def ask(self, asker: Asker, requests: Sequence[FieldRequest], tier: int) -> list[Answer]:
        """One answer per request, up to `tier`."""
        return self.ask_raw([_request(asker, item, tier) for item in requests])

    def ask_raw(self, requests: list[dict[str, CedarValue]]) -> list[Answer]:
        """Answers to requests in Cedar's own form, however malformed."""
        try:
            results = cedarpy.is_authorized_batch(requests, self._policies, self._entities, self._schema)
        except Exception as error:  # noqa: BLE001 - whatever the engine raises, every answer is a fault
            return [EngineFault(f"the engine raised {type(error).__name__}")] * len(requests)
        if len(results) != len(requests):
            return [EngineFault("the engine answered another number of questions")] * len(requests)
        return [self._read(result) for result in results]

    def _read(self, result: cedarpy.AuthzResult) -> Answer:
        reasons = result.diagnostics.reasons
        if result.diagnostics.errors:
            return EngineFault("the engine reported an error")
        known = [self._effects[reason] for reason in reasons if reason in self._effects]
        if len(known) != len(reasons):
            return EngineFault("the engine named an unknown clause")
        numbers = tuple(sorted(number for number, _ in known))
        effects = {effect for _, effect in known}
        if result.decision == cedarpy.Decision.Allow and effects == {Effect.RELEASE}:
            return Applies(numbers)
        if result.decision == cedarpy.Decision.Deny and effects == {Effect.WITHHOLD}:
            return Forbidden(numbers)
        if result.decision == cedarpy.Decision.Deny and not effects:
            return NothingApplies()
        return EngineFault("the engine's decision does not follow from its reasons")

    def _rekeyed(self) -> str:
        """Cedar reports positional ids as reasons; give every policy its clause's id instead."""
        document = json.loads(cedarpy.policies_to_json_str(self.text))
        static = {body["annotations"]["id"]: body for body in document["staticPolicies"].values()}
        if static.keys() != self._effects.keys():
            raise CompilationError("the compiled policies are not one per clause")
        return json.dumps(document | {"staticPolicies": static})


def _request(asker: Asker, item: FieldRequest, tier: int) -> dict[str, CedarValue]:
    context: dict[str, CedarValue] = {
        "provider": str(asker.provider),
        "role": asker.role.value,
        "purpose": asker.purpose.value,
        "tier": tier,
        "strength": asker.strength.rank,
        "consent": asker.consent.value,
        "field": str(item.field),
        "markers": sorted(str(marker) for marker in item.markers),
    }
    if item.record_age_days is not None:
        context["age_days"] = item.record_age_days
    return {
        "principal": {"type": "Agency", "id": str(asker.recipient)},
        "action": {"type": "Action", "id": "learn"},
        "resource": {"type": "RecordType", "id": str(item.record_type)},
        "context": context,
    }


def _policy_text(clause: Clause) -> str:
    word = "permit" if clause.effect is Effect.RELEASE else "forbid"
    tests = " && ".join(_tests(clause))
    head = f'@id("clause-{clause.number}")\n{word} (principal, action == Action::"learn", resource)'
    return f"{head}\nwhen {{ {tests} }};"


def _tests(clause: Clause) -> Iterable[str]:
    conditions = clause.conditions
    yield f"context.tier >= {clause.tier}"
    yield from _member("resource", [f"RecordType::{_quoted(item)}" for item in clause.record_types])
    yield from _member("principal", [f"Agency::{_quoted(item)}" for item in clause.recipients])
    yield from _member("context.field", map(_quoted, clause.fields))
    yield from _member("context.provider", map(_quoted, clause.providers))
    yield from _member("context.role", map(_quoted, clause.officer_roles))
    yield from _member("context.purpose", map(_quoted, clause.purposes))
    yield from _member("context.consent", map(_quoted, conditions.consent or ()))
    if conditions.minimum_strength is not None:
        yield f"context.strength >= {conditions.minimum_strength.rank}"
    if conditions.max_record_age_days is not None:
        yield f"context has age_days && context.age_days <= {conditions.max_record_age_days}"
    if conditions.older_than_days is not None:
        yield f"(if context has age_days then context.age_days > {conditions.older_than_days} else true)"
    if conditions.markers is not None:
        yield f"context.markers.containsAny([{', '.join(map(_quoted, conditions.markers))}])"


def _member(attribute: str, values: Iterable[str]) -> Iterable[str]:
    listed = ", ".join(values)
    if listed:
        yield f"[{listed}].contains({attribute})"


def _quoted(value: str) -> str:
    """A Cedar string. The id types leave nothing to escape; JSON's escapes are there in case that ever
    changes.
    """
    return json.dumps(str(value))
