"""What changes between two versions of a policy outside its decisions: parties and their lawful basis, dates,
governance, duties, limits, alarms, emergencies, and which clauses push.

The diff of decisions cannot see these, and a limit that was raised quietly is as bad as a field that was
opened. Words of clauses are left out: what they mean shows as changed decisions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from crypto.canonical import JsonValue
from policies.codec import to_json
from policies.sharing import SharingPolicy

_UNSAID = frozenset({"type", "version", "supersedes"})
_OF_A_CLAUSE = frozenset({"number", "push"})


@dataclass(frozen=True, slots=True)
class TermChange:
    """One term, as `safeguards.alarms.requests_per_day`; None where a version does not have it."""

    where: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.where}: {self.before or 'not there'} -> {self.after or 'not there'}"


def changed_terms(old: SharingPolicy, new: SharingPolicy) -> tuple[TermChange, ...]:
    """Every changed term, in the order of the document, what is new at the end."""
    before, after = dict(_terms(old)), dict(_terms(new))
    places = dict.fromkeys((*before, *after))
    return tuple(
        TermChange(where, before.get(where), after.get(where))
        for where in places
        if before.get(where) != after.get(where)
    )


def _terms(policy: SharingPolicy) -> Iterator[tuple[str, str]]:
    document = to_json(policy)
    assert isinstance(document, dict)
    for name, value in document.items():
        if name not in _UNSAID:
            yield from _flat(name, value)


def _flat(where: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _flat(f"{where}.{name}", member)
    elif isinstance(value, list):
        yield from _items(where, value)
    else:
        yield where, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _items(where: str, values: list[JsonValue]) -> Iterator[tuple[str, str]]:
    """Objects in a list are told apart by their agency or number; other lists are one term."""
    named = [value for value in values if isinstance(value, dict)]
    if not named:
        yield where, ", ".join(str(value) for value in values) or "nobody and nothing"
    for item in named:
        yield from _flat(f"{where}[{_name_of(item)}]", _shown(where, item))


def _name_of(item: Mapping[str, JsonValue]) -> str:
    return str(item.get("agency", item.get("number", "")))


def _shown(where: str, item: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if where != "clauses":
        return item
    return {name: value for name, value in item.items() if name in _OF_A_CLAUSE}
