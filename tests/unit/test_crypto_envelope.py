"""DSSE envelopes: the literal bytes, and who is counted as having signed."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from securesystemslib.dsse import Envelope as PeerEnvelope
from securesystemslib.signer._key import Key

from crypto.envelope import (
    MAX_SIGNATURES,
    Envelope,
    Signature,
    add_signature,
    payload_type,
    require_signature,
    sign_envelope,
    verified_keys,
)
from crypto.errors import EnvelopeError, KeyFormatError, SignatureError
from crypto.keys import SigningKey, VerifyKey, generate_signing_key

TYPE = payload_type("example")


@pytest.fixture
def signers() -> list[SigningKey]:
    return [generate_signing_key() for _ in range(3)]


def test_the_signed_bytes_are_those_of_the_specification() -> None:
    # https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md, test vectors.
    envelope = Envelope("http://example.com/HelloWorld", b"hello world")
    assert envelope.pae == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_another_implementation_reads_and_verifies_it(signers: list[SigningKey]) -> None:
    envelope = sign_envelope(TYPE, b'{"a":1}', signers)
    peer = PeerEnvelope.from_dict(json.loads(envelope.to_bytes()))
    keys = [
        Key.from_dict(
            signer.verify_key.key_id,
            {
                "keytype": "ed25519",
                "scheme": "ed25519",
                "keyval": {"public": signer.verify_key.raw.hex()},
            },
        )
        for signer in signers
    ]
    assert peer.pae() == envelope.pae
    assert set(peer.verify(keys, 3)) == {key.keyid for key in keys}


def test_an_envelope_round_trips(signers: list[SigningKey]) -> None:
    envelope = sign_envelope(TYPE, b"\x00\xff", signers)
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope
    assert verified_keys(envelope, [signer.verify_key for signer in signers]) == {
        signer.verify_key for signer in signers
    }


def test_the_digest_does_not_depend_on_who_signed(signers: list[SigningKey]) -> None:
    assert sign_envelope(TYPE, b"1", signers).digest == Envelope(TYPE, b"1").digest
    assert Envelope(TYPE, b"1").digest != Envelope(TYPE, b"2").digest
    assert Envelope(TYPE, b"1").digest != Envelope(payload_type("other"), b"1").digest


def test_the_order_of_signing_does_not_show(signers: list[SigningKey]) -> None:
    assert sign_envelope(TYPE, b"1", signers) == sign_envelope(TYPE, b"1", signers[::-1])


def test_the_same_key_under_two_key_ids_counts_once(signers: list[SigningKey]) -> None:
    genuine = sign_envelope(TYPE, b"1", signers[:1])
    value = genuine.signatures[0].value
    doubled = Envelope(
        TYPE,
        b"1",
        tuple(sorted((*genuine.signatures, Signature("0000", value)), key=lambda item: item.key_id)),
    )
    key = signers[0].verify_key
    assert verified_keys(doubled, [key, VerifyKey(key.raw)]) == {key}


def test_unknown_signers_are_left_out_of_account(signers: list[SigningKey]) -> None:
    envelope = sign_envelope(TYPE, b"1", signers)
    assert verified_keys(envelope, [signers[0].verify_key]) == {signers[0].verify_key}
    assert verified_keys(envelope, []) == frozenset()


def test_a_wrong_signature_of_a_known_key_is_never_ignored(signers: list[SigningKey]) -> None:
    good, other = sign_envelope(TYPE, b"1", signers[:2]), sign_envelope(TYPE, b"2", signers[:1])
    mixed = Envelope(TYPE, b"2", good.signatures)
    with pytest.raises(SignatureError):
        verified_keys(mixed, [signer.verify_key for signer in signers])
    assert verified_keys(other, [signer.verify_key for signer in signers]) == {signers[0].verify_key}


def test_one_key_signs_once(signers: list[SigningKey]) -> None:
    envelope = sign_envelope(TYPE, b"1", signers[:1])
    with pytest.raises(EnvelopeError, match="same key id"):
        add_signature(envelope, signers[0])
    with pytest.raises(EnvelopeError, match="same key id"):
        sign_envelope(TYPE, b"1", [signers[0], signers[0]])


def test_requiring_a_signature_gives_the_payload_or_says_why_not(signers: list[SigningKey]) -> None:
    envelope = sign_envelope(TYPE, b"1", signers[:1])
    assert require_signature(envelope, signers[0].verify_key, TYPE) == b"1"
    with pytest.raises(EnvelopeError, match="expected a document of type"):
        require_signature(envelope, signers[0].verify_key, payload_type("other"))
    with pytest.raises(SignatureError, match="not signed by"):
        require_signature(envelope, signers[1].verify_key, TYPE)
    with pytest.raises(SignatureError):
        require_signature(Envelope(TYPE, b"1"), signers[0].verify_key, TYPE)


def test_every_changed_byte_is_noticed(signers: list[SigningKey]) -> None:
    envelope = sign_envelope(TYPE, b'{"amount":1}', signers[:1])
    data, key = envelope.to_bytes(), signers[0].verify_key
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1
        try:
            found = Envelope.from_bytes(bytes(changed))
            payload = require_signature(found, key, TYPE)
        except (EnvelopeError, SignatureError, KeyFormatError):
            continue
        pytest.fail(f"byte {index} could be changed: {payload!r}")


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.pop("payload"),
        lambda e: e.update(extra=1),
        lambda e: e.update(payload=1),
        lambda e: e.update(payload="e30"),
        lambda e: e.update(payload="e31="),
        lambda e: e.update(payload="e3 0="),
        lambda e: e.update(payloadType="has space"),
        lambda e: e.update(payloadType=""),
        lambda e: e.update(signatures={}),
        lambda e: e.update(signatures=[1]),
        lambda e: e["signatures"].append(e["signatures"][0]),
        lambda e: e["signatures"].reverse(),
        lambda e: e["signatures"][0].update(keyid=""),
        lambda e: e["signatures"][0].update(cert="x"),
        lambda e: e["signatures"][0].pop("sig"),
        lambda e: e.update(signatures=[{"keyid": f"{n:04}", "sig": ""} for n in range(MAX_SIGNATURES + 1)]),
    ],
)
def test_malformed_envelopes_are_refused(
    change: Callable[[dict[str, Any]], object], signers: list[SigningKey]
) -> None:
    fields = json.loads(sign_envelope(TYPE, b"{}", signers).to_bytes())
    change(fields)
    with pytest.raises(EnvelopeError):
        Envelope.from_bytes(json.dumps(fields, separators=(",", ":"), sort_keys=True).encode())


def test_a_layout_other_than_canonical_is_refused(signers: list[SigningKey]) -> None:
    data = sign_envelope(TYPE, b"{}", signers).to_bytes()
    for other in (b" " + data, data + b"\n", json.dumps(json.loads(data)).encode()):
        with pytest.raises(EnvelopeError):
            Envelope.from_bytes(other)
    with pytest.raises(EnvelopeError, match="limit"):
        Envelope.from_bytes(data, max_bytes=len(data) - 1)


def test_payloads_are_standard_base64(signers: list[SigningKey]) -> None:
    fields = json.loads(sign_envelope(TYPE, b"\xfb\xff", signers).to_bytes())
    assert fields["payload"] == base64.b64encode(b"\xfb\xff").decode()


def test_a_payload_is_not_shown(signers: list[SigningKey]) -> None:
    assert "Susan" not in repr(sign_envelope(TYPE, b'{"name":"Susan"}', signers))


def test_payload_types_are_ours() -> None:
    assert TYPE == "application/vnd.tallystick.example.v1+json"
    assert payload_type("sharing-policy", 2) == "application/vnd.tallystick.sharing-policy.v2+json"
    for kind in ("", "A", "a b", "a/b", "-a"):
        with pytest.raises(EnvelopeError):
            payload_type(kind)
