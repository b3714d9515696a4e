"""Governance: deciding a request of 50 fields, appending to the audit log, verifying an export of it.

    uv run python -m bench.governance [--json] [--entries N] [--quick]

The decision is that of `policies.evaluate` under the demonstration's policy, its fields all different to the
clauses (record age), so that no answer is shared between them. Appends are durable commits on SQLite
(write-ahead log, fsync at each commit), `BATCH` entries a commit, about as many subjects as entries / 20.
The export is verified as `tallystick audit verify` does it, offline.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from agency_node.audit import AuditLog
from agency_node.audit_check import check_export
from agency_node.audit_export import export_files
from agency_node.config import load_config
from agency_node.keys import load_keys
from agency_node.ports import Append
from agency_node.store.store import NodeStore
from agency_node.subjects import SubjectId
from bench._harness import machine
from crypto.audit import AuditAction
from crypto.keystore import Keystore
from policies.access import Asker, FieldRequest
from policies.clauses import NO_APPROVALS
from policies.evaluate import PolicyEvaluator
from policies.ids import AgencyId, FieldName, RecordType
from policies.status import MAX_TIER
from policies.vocabulary import Consent, OfficerRole, Purpose, Strength
from tallystick.demo.documents import sharing_policy
from tallystick.demo.servers import free_port
from tallystick.demo.stage import FEDERATION, prepare

BATCH = 200
FIELDS = 50
AGENCY = "haven-charity"


def policy_eval_ms(repeats: int = 200) -> float:
    """Median milliseconds to decide a request of 50 fields."""
    evaluator = PolicyEvaluator(sharing_policy(FEDERATION, datetime.now(UTC)))
    asker = Asker(
        provider=AgencyId("vale-nhs"),
        recipient=AgencyId("northmoor-care"),
        role=OfficerRole.MARAC_COORDINATOR,
        purpose=Purpose.DOMESTIC_ABUSE_RISK,
        tier=2,
        strength=Strength.STRONG,
        consent=Consent.GIVEN,
        approvals=NO_APPROVALS,
    )
    requests = [
        FieldRequest(RecordType("incident"), FieldName("summary"), record_age_days=day)
        for day in range(FIELDS)
    ]
    evaluator.decide(asker, requests, ceiling=MAX_TIER)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        evaluator.decide(asker, requests, ceiling=MAX_TIER)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


async def audit(folder: Path, entries: int) -> tuple[float, float, int]:
    """Entries appended a second, seconds to verify the export, and how many entries it held."""
    stage = await prepare(folder, free_port(), datetime.now(UTC), lambda _: None)
    config = load_config(stage.node_config(AGENCY))
    keys = load_keys(Keystore.open(config.keystore, stage.passphrase), config.federation, config.agency)
    log = AuditLog(keys, keys.wrapper, lambda: datetime.now(UTC))
    store = NodeStore.open(config.database)
    try:
        per_second = await _append(store, log, entries)
        export = folder / "export"
        export.mkdir()
        async for name, chunk in export_files(store, log, keys, datetime.now(UTC).replace(microsecond=0)):
            with (export / name).open("ab") as file:
                file.write(chunk)
    finally:
        await store.close()
    start = time.perf_counter()
    report = check_export(export)
    took = time.perf_counter() - start
    if report.findings:
        raise RuntimeError(f"the export is not sound: {report.findings[0].message}")
    return per_second, took, report.size


async def _append(store: NodeStore, log: AuditLog, entries: int) -> float:
    start = time.perf_counter()
    for first in range(0, entries, BATCH):
        items = [
            Append(
                AuditAction.DISCLOSURE_REFUSED,
                "haven-charity.caseworker",
                {"outcome": "refused", "fields": 12},
                SubjectId(f"HVN-{number % max(1, entries // 20)}"),
            )
            for number in range(first, min(entries, first + BATCH))
        ]
        async with store.transaction() as tx:
            await log.append_all(tx, items)
    return entries / (time.perf_counter() - start)


def main() -> None:
    """Parse the options, run, print."""
    parser = argparse.ArgumentParser(description="Policy decisions and the audit log.")
    parser.add_argument("--entries", type=int, default=100_000, help="audit entries")
    parser.add_argument("--quick", action="store_true", help="2,000 entries")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    entries = 2_000 if options.quick else options.entries
    decide = policy_eval_ms()
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder:
        append, verify, size = asyncio.run(audit(Path(folder), entries))
    result = {
        "policy_eval_50_fields_ms": round(decide, 3),
        "audit_append_per_s": round(append),
        # Named for the full size; with fewer entries it is scaled to 100,000.
        "audit_verify_100k_s": round(verify * 100_000 / size, 2),
        "audit_entries": size,
        "audit_verify_s": round(verify, 2),
        "machine": machine(),
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
