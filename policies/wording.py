"""Words for the closed vocabularies, and the layout of a rendered page."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from policies.quorum import role_title
from policies.vocabulary import Controller, OfficerRole, Purpose, Regime

PURPOSE_TITLES = {
    Purpose.DOMESTIC_ABUSE_RISK: "assessing and reducing the risk of domestic abuse",
    Purpose.DOMESTIC_VIOLENCE_DISCLOSURE: "the Domestic Violence Disclosure Scheme (Clare's Law)",
    Purpose.SAFEGUARDING_CHILDREN: "safeguarding children",
    Purpose.SAFEGUARDING_ADULTS: "safeguarding adults at risk",
    Purpose.MENTAL_HEALTH_CRISIS: "responding to a mental-health crisis",
    Purpose.MISSING_PERSON: "finding a missing person",
    Purpose.CRIME_PREVENTION: "preventing and detecting crime",
    Purpose.VITAL_INTERESTS: "protecting somebody's life",
}
REGIME_TITLES = {
    Regime.UK_GDPR: "UK GDPR",
    Regime.PART3: "Part 3 of the Data Protection Act 2018 (law enforcement)",
}
CONTROLLER_TITLES = {
    Controller.INDEPENDENT: "independent controller",
    Controller.JOINT: "joint controller",
}


def day(moment: datetime) -> str:
    """`2 March 2026, 09:00 UTC`."""
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M} UTC"


def joined(items: Iterable[str], word: str = "and") -> str:
    """`a, b and c`."""
    *head, last = list(items) or ["nothing"]
    return f"{', '.join(head)} {word} {last}" if head else last


def plain(value: StrEnum | str) -> str:
    """An underscored word as people write it."""
    if isinstance(value, OfficerRole):
        return role_title(value)
    return (value.value if isinstance(value, StrEnum) else str(value)).replace("_", " ")


def plains(values: Iterable[StrEnum | str], word: str = "and") -> str:
    """Several of them."""
    return joined((plain(value) for value in values), word)


def quoted(prose: str) -> str:
    """Text that a drafter wrote, every line marked, so that it cannot pass for the page's own words."""
    return "\n".join(f"  > {line}".rstrip() for line in prose.split("\n"))


def counted(number: int, noun: str) -> str:
    """`1 day`, `2 days`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# Not strftime("%B"): the page is hashed, so it may not depend on a locale.
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
