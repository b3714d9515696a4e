"""Whatever was uploaded, changed, withdrawn and matched between: what is told ends as after one full run."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from broker.store.model import MatchedPair, Subject, TokenRecord
from broker.store.ports import BrokerStore
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Column, EncodingBatch, LinkEventKind, RunState, UploadMode
from tests.broker_services import EPOCH, BrokerServices, opened
from tests.encodings import handles, noisy, person_clks
from tests.federation import CARE, LINKAGE, NHS, POLICE, Federation

AGENCIES = (POLICE, CARE, NHS)
PEOPLE = 5
#: An encoding is a person's, with so many bits flipped, or half another person's.
LOOKS = (0, 40, 90, 150, 200, -1)

Look = tuple[int, int, int]
"""A subject, whose encoding it has, and with which look."""
Looks = tuple[Look, ...]


@dataclass(frozen=True)
class Upload:
    agency: str
    mode: UploadMode
    rows: Looks
    withdrawn: frozenset[int]


@dataclass(frozen=True)
class LookUp:
    agency: str
    row: Look


row = st.tuples(st.integers(0, PEOPLE - 1), st.integers(0, PEOPLE - 1), st.integers(0, len(LOOKS) - 1))
rows = st.lists(row, max_size=PEOPLE, unique_by=lambda item: item[0]).map(tuple)
some = st.frozensets(st.integers(0, PEOPLE - 1), max_size=2)
agency = st.sampled_from(AGENCIES)
steps = st.lists(
    st.one_of(
        st.builds(Upload, agency, st.just(UploadMode.FULL), rows, st.just(frozenset())),
        st.builds(
            Upload,
            agency,
            st.just(UploadMode.DELTA),
            rows,
            st.frozensets(st.integers(0, PEOPLE - 1), max_size=2),
        ),
        st.builds(LookUp, agency, row),
        st.just("run"),
        st.just("run"),
        st.just("suspend"),
        st.just("resume"),
        st.just("restart"),
    ),
    max_size=12,
)
everybody = st.tuples(rows, rows, rows)


@cache
def federation() -> Federation:
    return Federation.create(Path(tempfile.mkdtemp()))


@cache
def clk(person: int, look: int) -> NDArray[np.uint8]:
    people = person_clks(PEOPLE)
    if LOOKS[look] >= 0:
        return noisy(people[person : person + 1], LOOKS[look], 100 * person + look)
    return np.concatenate([people[person, :64], people[(person + 1) % PEOPLE, 64:]])[np.newaxis]


def batch_of(owner: str, wanted: Looks, withdrawn: frozenset[int]) -> EncodingBatch:
    names = handles(owner, range(PEOPLE))
    gone = tuple(names[subject] for subject in sorted(withdrawn - {item[0] for item in wanted}))
    count = len(wanted)
    if not count:
        return EncodingBatch(b"", b"", (), (), gone)
    return EncodingBatch(
        b"".join(names[subject] for subject, _, _ in wanted),
        bytes(count),
        (Column(b"\x01" * count, b"".join(clk(person, look).tobytes() for _, person, look in wanted)),),
        (Column(b"\x00" * count, b""),),
        gone,
    )


async def told(store: BrokerStore) -> tuple[tuple[MatchedPair, ...], dict[object, TokenRecord]]:
    """Pairs, and tokens by what they are for."""
    async with store.read() as tx:
        tokens = await tx.links.tokens(LINKAGE)
        pairs = await tx.links.pairs(LINKAGE)
        for recipient in AGENCIES:
            log: dict[bytes, object] = {}
            for event in await tx.links.events(LINKAGE, recipient, 0, 10_000):
                log[event.link.token] = event.link
                if event.kind is LinkEventKind.RECALLED:
                    del log[event.link.token]
            assert log == {item.token: item.link() for item in tokens if item.recipient.agency == recipient}
    return pairs, {(item.policy_hash, item.recipient, item.counterpart): item for item in tokens}


def without_token(item: TokenRecord) -> tuple[Subject, Subject, object, int, object, bool]:
    return (item.recipient, item.counterpart, item.strength, item.epoch, item.expires, item.named)


async def run(services: BrokerServices) -> bool:
    """False where there is nothing to match."""
    try:
        assert await services.run() is RunState.DONE
    except RefusedError as refusal:
        assert refusal.code is ErrorCode.NOTHING_TO_MATCH
        return False
    return True


async def play(first: tuple[Looks, ...], script: list[object], folder: Path) -> None:
    held: dict[str, dict[int, tuple[int, int]]] = {}
    services = await opened(folder / "one", federation())
    await services.share()
    shared = True
    try:
        opening = [
            Upload(name, UploadMode.FULL, wanted, frozenset())
            for name, wanted in zip(AGENCIES, first, strict=True)
        ]
        for step in (*opening, "run", *script, "resume", "run"):
            _, before = await told(services.store)
            match step:
                case Upload(name, mode, wanted, withdrawn):
                    await services.upload(name, batch_of(name, wanted, withdrawn), mode)
                    kept = held.get(name, {}) if mode is UploadMode.DELTA else {}
                    held[name] = {
                        subject: look
                        for subject, look in (kept | {item[0]: item[1:] for item in wanted}).items()
                        if subject not in withdrawn - {item[0] for item in wanted}
                    }
                case LookUp(name, item):
                    asked = batch_of(name, (item,), frozenset())
                    await services.look_ups.look_up(name, LINKAGE, EPOCH, services.schema_hash, asked)
                case "run":
                    await run(services)
                case "suspend" if shared:
                    await services.suspend()
                    shared = False
                case "resume" if not shared:
                    await services.resume()
                    shared = True
                case "restart" if shared:
                    await services.stop()
                    services = await BrokerServices.create(services.store, federation(), folder / "one")
            _, after = await told(services.store)
            assert all(after[key].token == before[key].token for key in before.keys() & after.keys())
        pairs, tokens = await told(services.store)
        assert (pairs, {key: without_token(item) for key, item in tokens.items()}) == await anew(held, folder)
    finally:
        await services.stop()


async def anew(
    held: dict[str, dict[int, tuple[int, int]]], folder: Path
) -> tuple[tuple[MatchedPair, ...], dict[object, object]]:
    """What a new broker tells after one full run over the same rows."""
    services = await opened(folder / "other", federation())
    try:
        await services.share()
        for name, found in held.items():
            wanted = tuple((subject, *look) for subject, look in found.items())
            await services.upload(name, batch_of(name, wanted, frozenset()), UploadMode.FULL)
        await run(services)
        pairs, tokens = await told(services.store)
        return pairs, {key: without_token(item) for key, item in tokens.items()}
    finally:
        await services.stop()


@given(first=everybody, script=steps)
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_changes_ends_in_what_a_full_run_tells(
    first: tuple[Looks, ...], script: list[object]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(first, script, Path(folder)))
