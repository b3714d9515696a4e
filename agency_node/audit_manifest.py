"""The audit log as a folder of files, for verification without a network or a node.

=================================  ============================================================
``leaves.jsonl``                   a leaf's bytes (canonical JSON) a line, in order
``sealed.jsonl``                   ``{"seq":n,"sealed":base64url}`` a line: the encrypted details
``checkpoints.jsonl``              ``{"note":text}`` a line: every signed head with its cosignatures
``roots.jsonl``                    ``{"envelope":base64url}`` a line: the federation's roots, from the anchor
``registries.jsonl``               ``{"envelope":base64url,"root":n}`` a line: each registry that was accepted
``documents.jsonl``                ``{"document","events","hash","kind","statements"}`` a line: envelopes
``witnessed/<agency>.checkpoint``  the newest head of that agency's log that this node cosigned
``broker.checkpoint``              the same of the broker's log
``manifest.json``                  `AuditManifest` in an envelope, signed by the node
=================================  ============================================================

The heads of others' logs are there where this node has cosigned any; with them those logs are checked
(`agency_node.audit_heads`). The broker's log, as this agency is shown it, is exported in the same form; of
its details, which only the broker can read, of documents and of other heads there are none in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from policies.ids import AgencyId, FederationId, Hash256, Line

MANIFEST = "manifest.json"
LEAVES, SEALED, CHECKPOINTS = "leaves.jsonl", "sealed.jsonl", "checkpoints.jsonl"
ROOTS, REGISTRIES, DOCUMENTS = "roots.jsonl", "registries.jsonl", "documents.jsonl"
FILES = (LEAVES, SEALED, CHECKPOINTS, ROOTS, REGISTRIES, DOCUMENTS)
WITNESSED, BROKER_HEAD = "witnessed", "broker.checkpoint"
_WITNESSED_HEAD = re.compile(rf"{WITNESSED}/[a-z0-9-]{{1,63}}\.checkpoint|{re.escape(BROKER_HEAD)}")


@dataclass(frozen=True, slots=True)
class AuditManifest:
    """`audit-export/v1`: what an export holds; `files` maps file names to SHA-256 (hex)."""

    KIND: ClassVar[str] = "audit-export/v1"

    federation: FederationId
    agency: AgencyId
    origin: Line
    size: int
    exported_at: datetime
    files: Mapping[Line, Hash256]


def is_witnessed_head(name: str) -> bool:
    """Whether a file of an export holds a head of somebody else's log."""
    return _WITNESSED_HEAD.fullmatch(name) is not None


def is_export_file(name: str) -> bool:
    """Whether a name is one that a file of an export may have."""
    return name in (*FILES, MANIFEST) or is_witnessed_head(name)
