"""docs/SPEC.md is exact: a second implementation, written from it alone, agrees with the golden vectors.

Nothing of the product is imported here, and only hashes, HMAC, ciphers and Ed25519 come from libraries.
Section numbers are those of SPEC.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CRYPTO: dict[str, Any] = json.loads((VECTORS / "crypto.json").read_text("utf-8"))
ENCODING: dict[str, Any] = json.loads((VECTORS / "encoding.json").read_text("utf-8"))
POLICIES: dict[str, Any] = json.loads((VECTORS / "policies.json").read_text("utf-8"))


# -- 1 and 2


def u32(n: int) -> bytes:
    return struct.pack(">I", n)


def u64(n: int) -> bytes:
    return struct.pack(">Q", n)


def frame(*parts: str | bytes) -> bytes:
    raw = [part.encode() if isinstance(part, str) else part for part in parts]
    return u32(len(raw)) + b"".join(u32(len(part)) + part for part in raw)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def hkdf(key: bytes, info: bytes, length: int = 32, salt: bytes = bytes(32)) -> bytes:
    secret, block, out = mac(salt, key), b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = mac(secret, block + info + bytes([number]))
        out += block
    return out[:length]


def unb64u(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value: Any) -> bytes:
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return b"{" + b",".join(canonical(k) + b":" + canonical(v) for k, v in ordered) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(canonical(item) for item in value) + b"]"
    return json.dumps(value, ensure_ascii=False).encode()


def test_canonical_json() -> None:
    assert frame("a", "", "bc").hex() == CRYPTO["derive"]["frame"]["hex"]
    for case in CRYPTO["canonical"]:
        assert canonical(case["value"]).decode() == case["canonical"]


# -- 3 and 4


def pae(kind: str, payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def key_id(public: bytes, scheme: str = "ed25519") -> str:
    return sha256(scheme.encode() + b"\0" + public).hex()


def test_envelopes() -> None:
    vector = CRYPTO["envelope"]
    envelope = json.loads(vector["envelope"])
    assert canonical(envelope).decode() == vector["envelope"]
    payload = base64.b64decode(envelope["payload"])
    signed = pae(envelope["payloadType"], payload)
    assert (signed.decode(), sha256(signed).hex()) == (vector["pae"], vector["digest"])
    keys = [
        Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).public_key() for seed in vector["seeds"]
    ]
    by_id = {key_id(key.public_bytes_raw()): key for key in keys}
    assert sorted(by_id) == sorted(vector["key_ids"]) == [item["keyid"] for item in envelope["signatures"]]
    for item in envelope["signatures"]:
        by_id[item["keyid"]].verify(base64.b64decode(item["sig"]), signed)


# -- 5


@pytest.mark.parametrize("name", POLICIES["documents"])
def test_document_hashes(name: str) -> None:
    vector = POLICIES["documents"][name]
    payload = vector["payload"].encode()
    document = json.loads(payload)
    assert canonical(document) == payload
    kind, version = document["type"].split("/v")
    assert vector["payload_type"] == f"application/vnd.tallystick.{kind}.v{version}+json"
    assert sha256(pae(vector["payload_type"], payload)).hex() == vector["document_hash"]
    if name == "agreement":
        assert sha256(canonical(document["encoding"])).hex() == POLICIES["schema_hash"]


def test_a_bundles_statements() -> None:
    bundle = json.loads(POLICIES["signed_document"])
    assert bundle["type"] == "signed-document/v1"
    document = json.loads(unb64u(bundle["document"]))
    page = POLICIES["pages"]["policy" if "sharing-policy" in document["payloadType"] else "agreement"]
    digest = sha256(pae(document["payloadType"], base64.b64decode(document["payload"]))).hex()
    registry = json.loads(POLICIES["documents"]["registry"]["payload"])
    keys = {}
    for officer in registry["officers"]:
        public = unb64u(officer["verify_key"]["public"])
        keys[key_id(public)] = (officer, Ed25519PublicKey.from_public_bytes(public))
    assert bundle["statements"]
    for item in bundle["statements"]:
        envelope = json.loads(unb64u(item))
        payload = base64.b64decode(envelope["payload"])
        (signature,) = envelope["signatures"]
        officer, key = keys[signature["keyid"]]
        key.verify(base64.b64decode(signature["sig"]), pae(envelope["payloadType"], payload))
        statement = json.loads(payload)
        assert statement["document_hash"] == digest
        assert statement["page_hash"] == page["hash"] == sha256(page["text"].encode()).hex()
        assert statement["role"] in officer["roles"]
        assert statement["organisation"] == officer["organisation"]


# -- 6: X25519 with HKDF-SHA256 and AES-256-GCM by RFC 9180, opened by hand


def test_a_sealed_message_opens() -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    vector = CRYPTO["seal"]["x25519"]
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["private"]))
    public = private.public_key().public_bytes_raw()
    sealed = bytes.fromhex(vector["sealed"])
    recipient = bytes.fromhex(key_id(public, "x25519"))
    assert sealed[:37] == b"TSS1" + b"\x02" + recipient
    enc, ciphertext = sealed[37:69], sealed[69:]
    info = frame("tallystick/seal/v1", "x25519", recipient, *vector["context"])

    def labelled(salt: bytes, suite: bytes, label: bytes, data: bytes) -> bytes:
        return mac(salt or bytes(32), b"HPKE-v1" + suite + label + data)

    def expand(secret: bytes, suite: bytes, label: bytes, data: bytes, length: int) -> bytes:
        out, block, labelled_info = b"", b"", struct.pack(">H", length) + b"HPKE-v1" + suite + label + data
        for number in range(1, -(-length // 32) + 1):
            block = mac(secret, block + labelled_info + bytes([number]))
            out += block
        return out[:length]

    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    shared = expand(labelled(b"", kem, b"eae_prk", shared), kem, b"shared_secret", enc + public, 32)
    context = b"\0" + labelled(b"", suite, b"psk_id_hash", b"") + labelled(b"", suite, b"info_hash", info)
    secret = labelled(shared, suite, b"secret", b"")
    key = expand(secret, suite, b"key", context, 32)
    nonce = expand(secret, suite, b"base_nonce", context, 12)
    assert AESGCM(key).decrypt(nonce, ciphertext, b"").decode() == vector["plaintext"]


# -- 7


def subkey(key: bytes, purpose: str, linkage: str, schema: str, epoch: int) -> bytes:
    return hkdf(key, frame("tallystick/subkey/v1", purpose, linkage, schema, u64(epoch)))


def test_the_linkage_key() -> None:
    v = CRYPTO["derive"]
    given = {name: bytes.fromhex(value) for name, value in v["contributions"].items()}
    names = sorted(given, key=str.encode)
    commitments: list[str | bytes] = []
    for name in names:
        parts = ("tallystick/contribution/v1", v["linkage"], name, u64(v["epoch"]), given[name])
        assert sha256(frame(*parts)).hex() == v["commitments"][name]
        commitments += [name, sha256(frame(*parts))]
    label = "tallystick/transcript/v1"
    transcript = sha256(frame(label, v["linkage"], u64(v["epoch"]), v["agreement_hash"], *commitments))
    assert transcript.hex() == v["transcript"]
    together = b"".join(given[name] for name in names)
    key = hkdf(together, frame("tallystick/linkage-key/v1", *names), salt=transcript)
    assert key.hex() == v["key"]
    assert mac(hkdf(key, frame("tallystick/confirm/v1")), transcript).hex() == v["confirmation"]
    for purpose, expected in v["subkeys"].items():
        assert subkey(key, purpose, v["linkage"], v["schema_hash"], v["epoch"]).hex() == expected


# -- 8


def words(key: bytes) -> Iterator[int]:
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    while True:
        yield from struct.unpack("<16I", stream.update(bytes(64)))


def table(key: bytes, bits: int, taps: int) -> list[list[int]]:
    stream = words(key)

    def draw(n: int) -> int:
        while (word := next(stream)) >= 2**32 - 2**32 % n:
            pass
        return word % n

    cards: list[int] = []
    for _ in range(taps):
        begun = cards[len(cards) // taps * taps :]
        while True:
            deck = list(range(bits))
            for i in range(bits - 1, 0, -1):
                other = draw(i + 1)
                deck[i], deck[other] = deck[other], deck[i]
            if not begun or not set(begun) & set(deck[: taps - len(begun)]):
                break
        cards += deck
    return [cards[taps * j : taps * j + taps] for j in range(bits)]


@pytest.mark.parametrize("vector", ENCODING["hardening"], ids=lambda v: f"{v['bits']}-{v['taps']}")
def test_the_diffusion_table(vector: dict[str, Any]) -> None:
    found = table(bytes.fromhex(vector["key"]), vector["bits"], vector["taps"])
    assert found[: len(vector["first_rows"])] == vector["first_rows"]


@pytest.mark.parametrize("kind", ["person", "place"])
def test_keys_tokens_and_evidence(kind: str) -> None:
    v, common = ENCODING[kind], ENCODING
    section = json.loads(
        (VECTORS.parents[1] / f"agency_node/encoding/schemas/{kind}.json").read_text("utf-8")
    )
    assert sha256(canonical(section)).hex() == v["schema_hash"]
    key = bytes.fromhex(common["linkage_key"])

    def purpose(name: str) -> bytes:
        return subkey(key, name, common["linkage"], v["schema_hash"], common["epoch"])

    projection = section["projections"][0]["name"]
    for name in ("clk", "harden"):
        label = frame("tallystick/projection/v1", name, projection)
        assert hkdf(purpose(name), label).hex() == v[f"{name}_key"]
    token = section["exact_tokens"][0]
    exact = hkdf(purpose("exact"), frame("tallystick/exact-token/v1", token["name"]))
    assert exact.hex() == v["exact_key"]
    pairs = [text for field in token["fields"] for text in (field, v["fields"][field])]
    assert mac(exact, frame("tallystick/exact/v1", token["name"], *pairs)).hex() == v["exact_token"]
    assert v["identity_evidence"]
    for field, expected in v["identity_evidence"].items():
        name = f"place/{field}" if kind == "place" else field
        proofs = {
            mac(purpose("identity"), frame("tallystick/identity/v2", common["request_id"], name, part))[:8]
            for part in evidence_parts(field, v["fields"])
        }
        assert b"".join(sorted(proofs)).hex() == expected


def evidence_parts(field: str, fields: dict[str, str]) -> list[str]:
    if field == "initial":
        return [fields["given_names"][0]]
    if field == "date_of_birth":
        month, day = fields["birth_day_month"].split("-")
        parts = [f"year {fields['birth_year']}", f"day or month {month}", f"day or month {day}"]
        return [*parts[:2], parts[2] + " again" if day == month else parts[2]]
    value = fields[field]
    if field not in ("given_names", "family_name"):
        return [value]
    letters = f"_{value.split(' ')[0] if field == 'given_names' else value.replace(' ', '')}_"
    return [letters[at : at + 2] for at in range(len(letters) - 1)]


# -- 9 and 10


def test_a_link_token() -> None:
    raw = bytes.fromhex(CRYPTO["token"]["raw"])
    assert base64.b32encode(raw).decode().rstrip("=").lower() == CRYPTO["token"]["text"]


def root_of(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"")
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:]))


def test_audit_entries_and_their_tree() -> None:
    vector = CRYPTO["audit"]
    data_key = bytes.fromhex(vector["data_key"])
    for number, entry in enumerate(vector["entries"]):
        leaf, sealed = json.loads(entry["leaf"]), bytes.fromhex(entry["sealed"])
        assert canonical(leaf).decode() == entry["leaf"]
        assert sha256(b"\0" + entry["leaf"].encode()).hex() == entry["leaf_hash"]
        assert leaf["seq"] == number
        assert sha256(sealed).hex() == leaf["details"]
        aad = frame("tallystick/audit/details/v1", leaf["origin"], u64(number), leaf["action"])
        details = json.loads(AESGCM(data_key).decrypt(sealed[:12], sealed[12:], aad))
        salt = unb64u(details["salt"])
        for name in ("actor", "subject"):
            expected = details[name] and mac(salt, frame(f"tallystick/audit/{name}/v1", details[name])).hex()
            assert leaf[name] == expected
    hashes = [bytes.fromhex(entry["leaf_hash"]) for entry in vector["entries"]]
    assert root_of(hashes).hex() == vector["root"]


def test_a_checkpoint_and_its_cosignature() -> None:
    vector = CRYPTO["checkpoint"]
    text, _, lines = vector["cosigned"].rpartition("\n\n")
    text += "\n"
    assert len(text.splitlines()) == 3
    public = {}
    for name in ("log", "witness"):
        seed = bytes.fromhex(vector[f"{name}_seed"])
        public[name] = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    log_line, witness_line = (line.split(" ") for line in lines.splitlines())
    assert log_line[:2] == ["\u2014", text.splitlines()[0]]
    log, witness = (base64.b64decode(line[2]) for line in (log_line, witness_line))
    for name, line, kind, value in (("log", log_line, b"\1", log), ("witness", witness_line, b"\4", witness)):
        raw = public[name].public_bytes_raw()
        assert value[:4] == sha256(line[1].encode() + b"\n" + kind + raw)[:4]
    public["log"].verify(log[4:], text.encode())
    seconds = struct.unpack(">Q", witness[4:12])[0]
    assert seconds == vector["time"]
    public["witness"].verify(witness[12:], f"cosignature/v1\ntime {seconds}\n{text}".encode())
