"""Which versions of a sharing policy are over because a newer one has begun.

A version is over for good once the time of a higher version of the same policy has come (`not_before`). What
became of the newer one decides nothing: suspended, revoked in its cooling-off or later, expired, or signed by
somebody whom today's registry no longer lists, it has said that the older text is not agreed any more. Who
wants that text back signs it as a new version.

The newer version must name every provider of the older one as a party, whose accountable officer has then
signed it. So nobody ends by a policy of their own what others have agreed, and every provider holds the
version that ends what it provides under.

Versions are compared by number, not along the hashes that they name in `supersedes`: a version between two
that was never seen brings nothing back. What is handed in here has had its full quorum when it was accepted.
"""

from collections.abc import Iterable
from datetime import datetime

from policies.lifecycle import IN_LIFE, PolicyState, Stage, stage_at
from policies.sharing import SharingPolicy


def succeeds(newer: SharingPolicy, older: SharingPolicy) -> bool:
    """Whether `newer` is a later version of the same policy, signed for every provider of `older`."""
    return (
        (newer.federation, newer.id) == (older.federation, older.id)
        and newer.version > older.version
        and all(newer.party(provider) is not None for provider in older.providers)
    )


def is_superseded(policy: SharingPolicy, accepted: Iterable[SharingPolicy], now: datetime) -> bool:
    """Whether one of the `accepted` versions has ended `policy`; once true, it stays true."""
    return any(now >= newer.not_before and succeeds(newer, policy) for newer in accepted)


def stage_among(
    state: PolicyState, policy: SharingPolicy, accepted: Iterable[SharingPolicy], now: datetime
) -> Stage:
    """As `stage_at`, but superseded where a newer version has ended what would still be in life."""
    stage = stage_at(state, policy, now)
    if stage in IN_LIFE and is_superseded(policy, accepted, now):
        return Stage.SUPERSEDED
    return stage
