"""Golden vectors of signed documents, and the JSON Schemas that come with the program.

`python -m tests.vectors.make_policies` writes them; with `--check` it changes nothing and exits 1 on any
difference.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from crypto.canonical import JsonValue
from policies.agreement import LinkageAgreement
from policies.codec import Document, document_hash, envelope_of, payload_type, write
from policies.ids import Hash256, Prose
from policies.json_schema import schema_file_name, schema_text
from policies.registry import Registry
from policies.render import page_hash, render_agreement, render_policy
from policies.root import Root
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument, sign_statement
from policies.statements import PolicyAction, PolicyEvent, SigningStatement
from policies.vocabulary import Decision, OfficerRole
from tests.simulator.disclosures import APPROVAL, REQUEST
from tests.simulator.policies import (
    NOW,
    POLICE,
    FederationSimulator,
    key_of,
    sample_agreement,
    sample_policy,
)

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors" / "policies.json"
SCHEMAS = ROOT / "policies" / "schema"


def documents() -> dict[str, Document]:
    """The documents of the vectors, by name."""
    simulator = FederationSimulator()
    policy = sample_policy()
    hash_ = Hash256(document_hash(policy))
    return {
        "root": simulator.root(),
        "registry": simulator.registry(),
        "agreement": sample_agreement(),
        "policy": policy,
        "statement": SigningStatement(
            hash_, page_hash(render_policy(policy)), POLICE, OfficerRole.SIRO, Decision.APPROVE, NOW
        ),
        "event": PolicyEvent(
            policy.id,
            hash_,
            3,
            PolicyAction.SUSPEND,
            POLICE,
            OfficerRole.SIRO,
            NOW,
            Prose("An incident is being looked into."),
        ),
        "request": REQUEST,
        "approval": APPROVAL,
    }


def vectors() -> JsonValue:
    """Each document's bytes and hash, the pages, and one signed statement."""
    found = documents()
    policy, agreement, statement = found["policy"], found["agreement"], found["statement"]
    assert isinstance(policy, SharingPolicy) and isinstance(agreement, LinkageAgreement)
    assert isinstance(statement, SigningStatement)
    bundle = SignedDocument(envelope_of(policy)).with_statement(
        sign_statement(statement, key_of("police.siro"))
    )
    return {
        "documents": {
            name: {
                "payload_type": payload_type(type(document)),
                "payload": write(document).decode(),
                "document_hash": document_hash(document),
            }
            for name, document in found.items()
        },
        "pages": {
            "policy": {"text": render_policy(policy), "hash": page_hash(render_policy(policy))},
            "agreement": {
                "text": render_agreement(agreement),
                "hash": page_hash(render_agreement(agreement)),
            },
        },
        "schema_hash": agreement.schema_hash,
        "signed_document": bundle.to_bytes().decode(),
    }


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file and its text."""
    yield VECTORS, json.dumps(vectors(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    kinds: tuple[type[Document], ...] = (SharingPolicy, LinkageAgreement, Registry, Root)
    for kind in kinds:
        yield SCHEMAS / schema_file_name(kind), schema_text(kind)


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on any difference")
    check = parser.parse_args().check
    drifted = [
        path for path, text in files() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in files():
        if not check and path in drifted:
            path.write_text(text, encoding="utf-8")
    for path in drifted:
        print(f"{'differs' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
