"""Derivations of a linkage epoch, against a second implementation written from the documented formats."""

import hashlib
import hmac

import pytest

from crypto import derive
from crypto.errors import DeriveError

AGREEMENT = "ab" * 32
SCHEMA = "cd" * 32
CONTRIBUTIONS = {"b-agency": b"\x02" * 32, "a-agency": b"\x01" * 32, "\u00e9-agency": b"\x03" * 32}


def _frame(*parts: bytes) -> bytes:
    out = len(parts).to_bytes(4, "big")
    for part in parts:
        out += len(part).to_bytes(4, "big") + part
    return out


def _hkdf(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    extracted = hmac.digest(salt or bytes(32), key, "sha256")
    block, out, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        out += block
        counter += 1
    return out[:length]


def test_hkdf_is_that_of_rfc_5869() -> None:
    # Appendix A.1.
    okm = derive.hkdf(
        b"\x0b" * 22,
        bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
        42,
        salt=bytes.fromhex("000102030405060708090a0b0c"),
    )
    assert okm.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_the_formats_are_as_documented() -> None:
    ordered = ["a-agency", "b-agency", "\u00e9-agency"]
    epoch = (7).to_bytes(8, "big")
    commitments = {
        agency: hashlib.sha256(
            _frame(b"tallystick/contribution/v1", b"person", agency.encode(), epoch, CONTRIBUTIONS[agency])
        ).digest()
        for agency in ordered
    }
    assert commitments == {
        agency: derive.commit_contribution(value, agency, "person", 7)
        for agency, value in CONTRIBUTIONS.items()
    }
    pairs = [part for agency in ordered for part in (agency.encode(), commitments[agency])]
    transcript = hashlib.sha256(
        _frame(b"tallystick/transcript/v1", b"person", epoch, AGREEMENT.encode(), *pairs)
    ).digest()
    assert derive.transcript_hash("person", 7, AGREEMENT, commitments) == transcript
    key = _hkdf(
        b"".join(CONTRIBUTIONS[agency] for agency in ordered),
        transcript,
        _frame(b"tallystick/linkage-key/v1", *(agency.encode() for agency in ordered)),
        32,
    )
    assert derive.combine_contributions(CONTRIBUTIONS, transcript) == key
    confirm = _hkdf(key, b"", _frame(b"tallystick/confirm/v1"), 32)
    assert derive.key_confirmation(key, transcript) == hmac.digest(confirm, transcript, "sha256")
    info = _frame(b"tallystick/subkey/v1", b"clk", b"person", SCHEMA.encode(), epoch)
    assert derive.subkey(key, "clk", "person", SCHEMA, 7, 64) == _hkdf(key, b"", info, 64)


def test_subkeys_differ_in_every_input() -> None:
    key = b"\x05" * 32
    subkeys = {
        derive.subkey(key, purpose, linkage, schema, epoch)
        for purpose in derive.SUBKEY_PURPOSES
        for linkage in ("person", "place")
        for schema in (SCHEMA, AGREEMENT)
        for epoch in (1, 2)
    }
    assert len(subkeys) == len(derive.SUBKEY_PURPOSES) * 8


def test_the_key_depends_on_every_contribution_and_owner() -> None:
    transcript = b"\x09" * 32
    key = derive.combine_contributions(CONTRIBUTIONS, transcript)
    for agency in CONTRIBUTIONS:
        changed = {**CONTRIBUTIONS, agency: b"\x0f" * 32}
        assert derive.combine_contributions(changed, transcript) != key
    swapped = {"a-agency": b"\x02" * 32, "b-agency": b"\x01" * 32, "\u00e9-agency": b"\x03" * 32}
    assert derive.combine_contributions(swapped, transcript) != key
    assert derive.combine_contributions(CONTRIBUTIONS, b"\x0a" * 32) != key


def test_wrong_inputs_are_refused() -> None:
    good = {"a": bytes(32), "b": bytes(32)}
    with pytest.raises(DeriveError, match="at least two"):
        derive.combine_contributions({"a": bytes(32)}, bytes(32))
    with pytest.raises(DeriveError, match="at least two"):
        derive.transcript_hash("person", 1, AGREEMENT, {"a": bytes(32)})
    with pytest.raises(DeriveError, match="contribution has 32"):
        derive.combine_contributions({"a": bytes(31), "b": bytes(33)}, bytes(32))
    with pytest.raises(DeriveError, match="transcript"):
        derive.combine_contributions(good, b"")
    with pytest.raises(DeriveError, match="contribution has 32"):
        derive.commit_contribution(b"", "a", "person", 1)
    with pytest.raises(DeriveError, match="not be empty"):
        derive.commit_contribution(bytes(32), "", "person", 1)
    with pytest.raises(DeriveError, match="agreement hash"):
        derive.transcript_hash("person", 1, "AB" * 32, good)
    with pytest.raises(DeriveError, match="commitment"):
        derive.transcript_hash("person", 1, AGREEMENT, {"a": b"", "b": bytes(32)})
    with pytest.raises(DeriveError, match="outside"):
        derive.commit_contribution(bytes(32), "a", "person", -1)
    with pytest.raises(DeriveError, match="unknown subkey purpose"):
        derive.subkey(bytes(32), "other", "person", SCHEMA, 1)
    with pytest.raises(DeriveError, match="linkage key"):
        derive.subkey(bytes(31), "clk", "person", SCHEMA, 1)
    for length in (15, 8161):
        with pytest.raises(DeriveError, match="bytes"):
            derive.subkey(bytes(32), "clk", "person", SCHEMA, 1, length)
