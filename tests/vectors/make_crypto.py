"""Golden vectors of the byte formats in `crypto`: `python -m tests.vectors.make_crypto [--check]`.

Keys and salts come from a counter instead of a random source, so the file is the same whenever it is made.
HPKE has no deterministic form: its messages are kept from the file as long as they open, and made anew
otherwise.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from crypto import derive, merkle
from crypto.audit import AuditAction, AuditDetails, AuditEntry, build_entry, reference
from crypto.canonical import JsonInput, b64u, canonical_json
from crypto.checkpoint import Checkpoint, add_cosignature, cosign, sign_checkpoint
from crypto.envelope import payload_type, sign_envelope
from crypto.errors import SealError
from crypto.keys import MLKEM768_X25519, X25519, SealingPrivateKey, SigningKey
from crypto.seal import SealContext, open_sealed, seal_to
from crypto.tokens import LinkToken

FILE = Path(__file__).with_name("crypto.json")
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTEXT = SealContext("disclosure-request", "north-police", "wessex-nhs", "m-1")
SEALED_TEXT = b"a signed request"


def fixed_bytes(label: str) -> Callable[[int], bytes]:
    """A source of bytes that looks random and never changes."""
    counter = 0

    def take(count: int) -> bytes:
        nonlocal counter
        counter += 1
        return hashlib.shake_256(f"tallystick vector {label} {counter}".encode()).digest(count)

    return take


def signing_key(label: str) -> SigningKey:
    """The vector file's key of that label."""
    return SigningKey(fixed_bytes(label)(32))


def sealing_key(suite: str) -> SealingPrivateKey:
    """The vector file's sealing key of that suite."""
    return SealingPrivateKey(suite, fixed_bytes(suite)(96 if suite == MLKEM768_X25519 else 32))


def canonical_cases() -> list[JsonInput]:
    values: list[JsonInput] = [
        None,
        [True, False, 0, -1, 2**53 - 1],
        {"b": 1, "a": {"z": [], "y": {}}},
        {"\u20ac": "Euro", "\r": "CR", "\ufb33": "Hebrew", "1": "One", "\U0001f600": "Emoji", "\u0080": "C1"},
        'quote " backslash \\ newline \n bell \x07 \u00e9',
    ]
    return [{"value": value, "canonical": canonical_json(value).decode()} for value in values]


def envelope_case() -> JsonInput:
    envelope = sign_envelope(
        payload_type("example"), b'{"a":1}', [signing_key("officer"), signing_key("node")]
    )
    return {
        "seeds": [signing_key(label).private_bytes().hex() for label in ("officer", "node")],
        "key_ids": [signing_key(label).verify_key.key_id for label in ("officer", "node")],
        "pae": envelope.pae.decode(),
        "digest": envelope.digest,
        "envelope": envelope.to_bytes().decode(),
    }


def derive_case() -> JsonInput:
    take = fixed_bytes("derive")
    contributions = {agency: take(32) for agency in ("wessex-nhs", "north-police", "harbour-charity")}
    commitments = {
        agency: derive.commit_contribution(value, agency, "person", 7)
        for agency, value in contributions.items()
    }
    transcript = derive.transcript_hash("person", 7, "ab" * 32, commitments)
    key = derive.combine_contributions(contributions, transcript)
    return {
        "frame": {"parts": ["a", "", "bc"], "hex": derive.frame("a", b"", "bc").hex()},
        "linkage": "person",
        "epoch": 7,
        "agreement_hash": "ab" * 32,
        "schema_hash": "cd" * 32,
        "contributions": {agency: value.hex() for agency, value in contributions.items()},
        "commitments": {agency: value.hex() for agency, value in commitments.items()},
        "transcript": transcript.hex(),
        "key": key.hex(),
        "confirmation": derive.key_confirmation(key, transcript).hex(),
        "subkeys": {
            purpose: derive.subkey(key, purpose, "person", "cd" * 32, 7).hex()
            for purpose in sorted(derive.SUBKEY_PURPOSES)
        },
    }


def checkpoint_case() -> JsonInput:
    checkpoint = Checkpoint("demo/agency/north-police/audit", 3, hashlib.sha256(b"root").digest())
    signed = sign_checkpoint(checkpoint, signing_key("node"))
    line = cosign(checkpoint, "demo/agency/wessex-nhs", signing_key("witness"), TIME)
    return {
        "log_seed": signing_key("node").private_bytes().hex(),
        "witness_seed": signing_key("witness").private_bytes().hex(),
        "time": int(TIME.timestamp()),
        "signed": signed.to_bytes().decode(),
        "cosigned": add_cosignature(signed, line).to_bytes().decode(),
    }


def audit_entries() -> list[AuditEntry]:
    """Two entries of one exchange."""
    take = fixed_bytes("audit")
    key = fixed_bytes("subject key")(32)
    return [
        build_entry(
            seq=seq,
            time=TIME,
            origin="demo/agency/north-police/audit",
            action=action,
            details=AuditDetails("officer-17", subject, {"tier": 1, "clauses": ["2", "4a"]}),
            data_key=key,
            policy="ef" * 32,
            ref=reference("00112233445566778899aabbccddeeff"),
            rng_bytes=take,
        )
        for seq, (action, subject) in enumerate(
            [(AuditAction.DISCLOSURE_RELEASED, "subject-5"), (AuditAction.RECEIPT_RECEIVED, None)]
        )
    ]


def audit_case() -> JsonInput:
    entries = audit_entries()
    frontier, _ = merkle.build_tree([entry.leaf.leaf_hash for entry in entries])
    return {
        "data_key": fixed_bytes("subject key")(32).hex(),
        "entries": [
            {
                "leaf": entry.leaf.to_bytes().decode(),
                "leaf_hash": entry.leaf.leaf_hash.hex(),
                "sealed": entry.sealed.hex(),
            }
            for entry in entries
        ],
        "root": frontier.root().hex(),
    }


def seal_cases(kept: dict[str, str]) -> dict[str, JsonInput]:
    cases: dict[str, JsonInput] = {}
    for suite in (MLKEM768_X25519, X25519):
        key = sealing_key(suite)
        sealed = bytes.fromhex(kept.get(suite, ""))
        try:
            good = open_sealed(key, sealed, CONTEXT) == SEALED_TEXT
        except SealError:
            good = False
        if not good:
            sealed = seal_to(key.public_key, SEALED_TEXT, CONTEXT)
        cases[suite] = {
            "private": key.private_bytes().hex(),
            "public": b64u(key.public_key.raw),
            "key_id": key.public_key.key_id,
            "context": [CONTEXT.purpose, CONTEXT.sender, CONTEXT.recipient, CONTEXT.message_id],
            "plaintext": SEALED_TEXT.decode(),
            "sealed": sealed.hex(),
        }
    return cases


def make() -> str:
    """The whole file."""
    kept: dict[str, str] = {}
    if FILE.exists():
        kept = {suite: case["sealed"] for suite, case in json.loads(FILE.read_text())["seal"].items()}
    vectors: JsonInput = {
        "canonical": canonical_cases(),
        "envelope": envelope_case(),
        "derive": derive_case(),
        "token": {"raw": bytes(range(16)).hex(), "text": LinkToken(bytes(range(16))).text},
        "checkpoint": checkpoint_case(),
        "audit": audit_case(),
        "seal": seal_cases(kept),
    }
    return json.dumps(vectors, indent=1, sort_keys=True) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the golden vectors of crypto.")
    parser.add_argument("--check", action="store_true", help="exit 1 if the file would change")
    made = make()
    if not parser.parse_args().check:
        FILE.write_text(made)
        return 0
    if FILE.read_text() != made:
        print(f"{FILE} has drifted; run python -m tests.vectors.make_crypto and read the difference")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
