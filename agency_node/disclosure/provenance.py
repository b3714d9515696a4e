"""Where a record came from: what another agency disclosed is never offered as this agency's own.

What is received is kept apart from the agency's source, and no decision reads it. But people copy. So the
numbers of received records stay known by their keyed hash, even after what was received is purged, and a
record of the source under such a number counts as received. A source may also mark its records `received`.
What was retyped under another number cannot be told from the agency's own knowledge.
"""

from __future__ import annotations

from dataclasses import replace

from agency_node.disclosure.records import Holding
from agency_node.disclosure.vault import Vault
from agency_node.store.store import NodeTransaction
from policies.clauses import RECEIVED_MARKER
from policies.disclosure import DisclosureRelease


async def note_received(tx: NodeTransaction, vault: Vault, release: DisclosureRelease) -> None:
    """Remembers which records came with a release."""
    await tx.releases.note_received([vault.record_mac(str(record.id)) for record in release.records])


async def with_provenance(tx: NodeTransaction, vault: Vault, holding: Holding) -> Holding:
    """The holding, with records that came from another agency marked as such."""
    macs = {record.record_id: vault.record_mac(str(record.record_id)) for record in holding.records}
    received = await tx.releases.received(tuple(macs.values()))
    if not received:
        return holding
    records = tuple(
        replace(record, markers=record.markers | {str(RECEIVED_MARKER)})
        if macs[record.record_id] in received
        else record
        for record in holding.records
    )
    return replace(holding, records=records)
