"""When approvals stand together: at one moment, at which each was fresh and each officer still in post.

The date in a statement is the officer's own word: who has left could date a new signature back. So a date is
weighed beside the others. A quorum is formed at the moment of its last signature, and an officer who had left
by then does not count for it. That is the same for all who hold the same statements, whenever they look: a
quorum that was formed stays formed when an officer leaves later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from policies.quorum import QuorumRule, Signatory, unfilled
from policies.registry import Officer

#: From the first signature of a quorum to its last, and to its publishing. The text is agreed before anybody
#: signs, so a month is ample; what lay longer may not say any more what its officer thinks.
SIGNING_TIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Approval:
    """An approving statement that is in order by itself."""

    officer: Officer
    signatory: Signatory
    signed_at: datetime

    def stands_at(self, moment: datetime) -> bool:
        """Whether it had been given by then, not too long before, by somebody who was still in post."""
        fresh = moment - SIGNING_TIME <= self.signed_at <= moment
        return fresh and self.officer.valid_at(moment)


def standing_together(
    approvals: Sequence[Approval], rule: QuorumRule, moments: Iterable[datetime]
) -> tuple[Approval, ...]:
    """Those that stand at one of `moments`: where the fewest requirements remain, or the latest of such."""
    best: tuple[Approval, ...] = ()
    for moment in sorted(moments):
        standing = tuple(item for item in approvals if item.stands_at(moment))
        if len(_missing(rule, standing)) <= len(_missing(rule, best)):
            best = standing
    return best


def _missing(rule: QuorumRule, approvals: Iterable[Approval]) -> tuple[object, ...]:
    return unfilled(rule, [item.signatory for item in approvals])
