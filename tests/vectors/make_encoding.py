"""Golden vectors of the encoding formats: ``python -m tests.vectors.make_encoding [--check]``.

Keys are spelled out, so the file is the same whenever it is made. The diffusion table is made here a second
time, straight from the description in ``agency_node.encoding.hardening``, and must agree.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from agency_node.encoding import (
    EncodingKeys,
    EncodingReport,
    EncodingSection,
    default_section,
    encode_subjects,
)
from agency_node.encoding.exact import exact_token
from agency_node.encoding.hardening import Hardener, Hardening, diffusion_taps
from agency_node.encoding.identity import person_evidence, place_evidence
from agency_node.encoding.keys import schema_hash
from agency_node.subjects import Identity, Subject, SubjectId

FILE = Path(__file__).with_name("encoding.json")
LINKAGE_KEY = bytes(range(32))
HARDENING_KEY = bytes(range(100, 132))
LINKAGE, EPOCH, REQUEST = "vectors", 7, "request-1"
PERSON = {
    "given_names": "SUSAN MARY",
    "family_name": "OBRIEN",
    "date_of_birth": "1980-03-14",
    "birth_year": "1980",
    "birth_day_month": "03-14",
    "sex": "F",
    "address": "14 HIGH STREET",
    "town": "LEEDS",
    "postcode": "LS11AA",
    "nhs_number": "9434765919",
}
PLACE = {"house": "14", "street": "HIGH STREET", "postcode": "LS11AA", "uprn": "100023336956"}


def described_taps(key: bytes, bits: int, taps: int) -> list[list[int]]:
    """The diffusion table, step by step as it is described."""

    def words() -> Iterator[int]:
        stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        while True:
            yield int.from_bytes(stream.update(bytes(4)), "little")

    source = words()

    def draw(n: int) -> int:
        while True:
            word = next(source)
            if word < 2**32 - 2**32 % n:
                return word % n

    cards: list[int] = []
    while len(cards) < bits * taps:
        deck = list(range(bits))
        for i in range(bits - 1, 0, -1):
            other = draw(i + 1)
            deck[i], deck[other] = deck[other], deck[i]
        first_of_row = len(cards) - len(cards) % taps
        row = (cards + deck)[first_of_row : first_of_row + taps]
        if len(set(row)) == len(row):
            cards += deck
    return [cards[taps * j : taps * j + taps] for j in range(bits)]


def hardening_vectors() -> list[dict[str, Any]]:
    vectors = []
    for bits, taps in ((16, 3), (64, 2), (1024, 5)):
        table = described_taps(HARDENING_KEY, bits, taps)
        if diffusion_taps(HARDENING_KEY, bits, taps).tolist() != table:
            raise SystemExit("the diffusion table does not follow its description")
        clk = np.frombuffer(
            b"".join(sha256(bytes([block])).digest() for block in range(4))[: bits // 8], dtype=np.uint8
        )
        hardened = Hardener(Hardening("sparse-diffusion/v1", taps), HARDENING_KEY, bits).apply(clk[None])
        vectors.append(
            {
                "bits": bits,
                "taps": taps,
                "key": HARDENING_KEY.hex(),
                "first_rows": table[:8],
                "table_sha256": sha256(json.dumps(table, separators=(",", ":")).encode()).hexdigest(),
                "clk": clk.tobytes().hex(),
                "hardened": hardened.tobytes().hex(),
            }
        )
    return vectors


def section_vectors(subject_type: Any, fields: dict[str, str]) -> dict[str, Any]:
    section = default_section(subject_type)
    keys = EncodingKeys.derive(LINKAGE_KEY, LINKAGE, EPOCH, section)
    checked = EncodingSection.from_json(section, narrow_exceptions={"place"})
    subject = Subject(SubjectId("1"), subject_type, (Identity(fields),))
    handles = {subject.subject_id: bytes(16)}
    rows = next(encode_subjects(checked, [subject], keys, handles, EncodingReport()))
    projection, token = checked.projections[0], checked.exact_tokens[0]
    value = exact_token(token, fields, keys)
    assert value is not None
    evidence = person_evidence if subject_type == "person" else place_evidence
    return {
        "fields": fields,
        "schema_hash": schema_hash(section),
        "clk_key": keys.clk(projection.name).hex(),
        "harden_key": keys.harden(projection.name).hex(),
        "exact_key": keys.exact(token.name).hex(),
        "hardened_clk": rows.clks[projection.name][0].tobytes().hex(),
        "exact_token": value.hex(),
        "identity_evidence": {
            field: proof.hex() for field, proof in evidence(Identity(fields), keys.identity, REQUEST).items()
        },
    }


def vectors() -> dict[str, Any]:
    """Everything in the file."""
    return {
        "linkage_key": LINKAGE_KEY.hex(),
        "linkage": LINKAGE,
        "epoch": EPOCH,
        "request_id": REQUEST,
        "hardening": hardening_vectors(),
        "person": section_vectors("person", PERSON),
        "place": section_vectors("place", PLACE),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the file, or with ``--check`` say whether it is what would be written."""
    parser = argparse.ArgumentParser(description="golden vectors of the encoding formats")
    parser.add_argument("--check", action="store_true")
    text = json.dumps(vectors(), indent=1) + "\n"
    if parser.parse_args(arguments).check:
        if FILE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{FILE.name} has drifted; if that is meant, run python -m tests.vectors.make_encoding")
        return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
