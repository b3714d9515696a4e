"""What it costs to tell of links after a small change, against how many are told already.

``python -m bench.publishing [--links 10000,100000] [--new 1000] [--full-up-to 100000] [--quick]
[--json FILE]``

A broker's store on SQLite holds ``--links`` links, each told to one agency. Medians of several transactions
that make ``--new`` further links known, and of as many that withdraw ``--new`` subjects: commit included, the
matching that found them not. Up to ``--full-up-to`` links, publishing everything anew stands beside it, which
is what every run would cost if it did not know what it changed.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench._harness import Row, add_output_options, peak_mib, report
from broker import migrations
from broker.audit import AuditLog
from broker.bell import Bell
from broker.catalogue import Catalogue, HeldPolicy
from broker.linkages import Linkage
from broker.links import LinkService
from broker.store.model import MatchedPair, Subject
from broker.store.sql import SqlStore, open_engine
from crypto.keys import generate_signing_key
from policies.codec import document_hash
from policies.evaluate import PolicyEvaluator
from policies.ids import Hash256
from policies.lifecycle import PolicyState, Stage
from protos.wire.linkage import Strength
from tallystick.demo.documents import PEOPLE, agreement, sharing_policy
from tallystick.demo.stage import FEDERATION

NOW = datetime.now(UTC).replace(microsecond=0)
REPEATS = 3
AT_ONCE = 50_000
EPOCH = 1


class FixedCatalogue(Catalogue):
    """The demonstration's agreement and its policy, both in force."""

    def __init__(self) -> None:
        policy = sharing_policy(FEDERATION, NOW)
        agencies = sorted({*policy.providers, *policy.recipients})
        agreed = agreement(PEOPLE, "person", agencies, 1_000_000, FEDERATION, NOW)
        digest = document_hash(policy)
        state = PolicyState(Hash256(digest), Stage.ACTIVE, 0, policy.not_before)
        self.held = HeldPolicy(policy, digest, state, PolicyEvaluator(policy), ())
        self.agreed = Linkage(agreed, document_hash(agreed))

    def linkages(self) -> tuple[Linkage, ...]:
        """The one agreement."""
        return (self.agreed,)

    def active_policies(self, linkage_id: str) -> tuple[HeldPolicy, ...]:
        """The one policy."""
        return (self.held,)


class Links:
    """Further links between two agencies of which the policy lets one know, as many as are asked for."""

    def __init__(self, catalogue: FixedCatalogue) -> None:
        policy = catalogue.held.policy
        recipient = policy.recipients[0]
        provider = next(item for item in policy.providers if item != recipient)
        self._agencies = sorted([str(recipient), str(provider)])

    def more(self, count: int) -> list[MatchedPair]:
        """Links of subjects that nobody has seen."""
        first, second = self._agencies
        return [
            MatchedPair(
                Subject(first, secrets.token_bytes(16)),
                Subject(second, secrets.token_bytes(16)),
                Strength.STRONG,
            )
            for _ in range(count)
        ]


async def row(held: int, new: int, full_up_to: int, folder: Path) -> Row:
    """Measure against ``held`` links."""
    engine = open_engine(f"sqlite:///{folder / 'broker.sqlite'}")
    await migrations.upgrade(engine)
    store = SqlStore(engine)
    catalogue = FixedCatalogue()
    audit = AuditLog(generate_signing_key(), str(FEDERATION), bytes(32), lambda: NOW)
    service = LinkService(store, catalogue, audit, Bell(), lambda: NOW, secrets.token_bytes)
    linkage, links = catalogue.agreed, Links(catalogue)

    async def publish(pairs: Sequence[MatchedPair], *, everything: bool = False) -> float:
        start = time.perf_counter()
        around = None if everything else {side for pair in pairs for side in (pair.first, pair.second)}
        async with store.write() as tx:
            news = await service.publish(tx, linkage, EPOCH, pairs, around)
        service.published(linkage.id, news)
        return time.perf_counter() - start

    async def withdraw(pairs: Sequence[MatchedPair]) -> float:
        start = time.perf_counter()
        gone = frozenset(pair.first.handle for pair in pairs)
        async with store.write() as tx:
            await service.withdraw(tx, linkage, pairs[0].first.agency, gone)
        return time.perf_counter() - start

    await publish([], everything=True)
    told: list[MatchedPair] = []
    for start in range(0, held, AT_ONCE):
        part = links.more(min(AT_ONCE, held - start))
        await publish(part)
        told += part if held <= full_up_to else ()
    publishing, withdrawing = [], []
    for _ in range(REPEATS):
        pairs = links.more(new)
        publishing.append(await publish(pairs))
        withdrawing.append(await withdraw(pairs))
    everything = await publish([*told, *links.more(new)], everything=True) if told else None
    await store.close()
    return {
        "links held": held,
        "new": new,
        "publishing s": median(publishing),
        "withdrawing s": median(withdrawing),
        "everything anew s": everything,
        "peak MiB": peak_mib(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--links", help="links told already, rising; by default 10000,100000")
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--full-up-to", type=int, default=100_000)
    add_output_options(parser)
    given = parser.parse_args(arguments)
    usual = "2000,10000" if given.quick else "10000,100000"
    rows: list[Row] = []
    for held in sorted(int(part) for part in (given.links or usual).split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(asyncio.run(row(held, given.new, given.full_up_to, Path(folder))))
    report("telling of links after a change", rows, given.json)


if __name__ == "__main__":
    main()
