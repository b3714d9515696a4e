"""Keys: identity, refusal of weak or malformed ones, and silence about secrets."""

import hashlib

import pytest

from crypto.errors import CryptoError, KeyFormatError, SignatureError
from crypto.keys import (
    SEALING_SUITES,
    SealingPrivateKey,
    SealingPublicKey,
    SigningKey,
    VerifyKey,
    generate_sealing_key,
    generate_signing_key,
)

# RFC 8032 section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
P = 2**255 - 19
SMALL_ORDER = [
    (0).to_bytes(32, "little"),
    (1 << 255).to_bytes(32, "little"),
    (1).to_bytes(32, "little"),
    (P - 1).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
]


def test_ed25519_is_that_of_rfc_8032() -> None:
    key = SigningKey(SEED)
    assert key.verify_key.raw == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    key.verify_key.verify(SIGNATURE, b"\x72")


def test_the_key_id_hashes_scheme_and_key() -> None:
    assert VerifyKey(PUBLIC).key_id == hashlib.sha256(b"ed25519\x00" + PUBLIC).hexdigest()
    sealing = generate_sealing_key("x25519").public_key
    assert sealing.key_id == hashlib.sha256(b"x25519\x00" + sealing.raw).hexdigest()


def test_every_changed_bit_of_a_signature_is_refused() -> None:
    key = VerifyKey(PUBLIC)
    for bit in range(512):
        wrong = bytearray(SIGNATURE)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureError):
            key.verify(bytes(wrong), b"\x72")
    for wrong_length in (b"", SIGNATURE[:-1], SIGNATURE + b"\x00"):
        with pytest.raises(SignatureError):
            key.verify(wrong_length, b"\x72")


@pytest.mark.parametrize("raw", SMALL_ORDER, ids=lambda raw: raw.hex()[-8:])
def test_keys_of_small_order_are_refused(raw: bytes) -> None:
    with pytest.raises(KeyFormatError):
        VerifyKey(raw)


def test_a_key_has_one_encoding_only() -> None:
    for y in range(P, P + 19):
        with pytest.raises(KeyFormatError):
            VerifyKey(y.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"scheme": "ed25519"},
        {"scheme": "ed25519", "public": "AAAA"},
        {"scheme": "ed25519", "public": 1},
        {"scheme": "ed448", "public": "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"},
        {"scheme": "ed25519", "public": "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw="},
        {"scheme": "ed25519", "public": "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw", "use": "any"},
    ],
)
def test_malformed_public_keys_are_refused(value: object) -> None:
    with pytest.raises(KeyFormatError):
        VerifyKey.from_json(value)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("suite", SEALING_SUITES)
def test_sealing_keys_round_trip(suite: str) -> None:
    key = generate_sealing_key(suite)
    again = SealingPrivateKey(suite, key.private_bytes())
    assert again.public_key == key.public_key == SealingPublicKey.from_json(key.public_key.to_json())
    assert again.open(key.public_key.encrypt(b"text", b"info"), b"info") == b"text"


def test_the_default_sealing_key_is_hybrid_post_quantum() -> None:
    assert generate_sealing_key().public_key.suite == "mlkem768-x25519"


@pytest.mark.parametrize("suite", [*SEALING_SUITES, "p256"])
def test_sealing_keys_of_a_wrong_length_or_suite_are_refused(suite: str) -> None:
    for raw in (b"", b"\x01" * 31, b"\xff" * 1215, b"\xff" * 1217):
        with pytest.raises(KeyFormatError):
            SealingPublicKey(suite, raw)
        with pytest.raises(KeyFormatError):
            SealingPrivateKey(suite, raw)


def test_an_unreduced_ml_kem_key_is_refused() -> None:
    with pytest.raises(KeyFormatError):
        SealingPublicKey("mlkem768-x25519", b"\xff" * 1216)


def test_sealing_to_a_point_of_small_order_is_refused() -> None:
    with pytest.raises(CryptoError):
        SealingPublicKey("x25519", bytes(32)).encrypt(b"text", b"")


def test_private_keys_are_not_shown() -> None:
    signing, sealing = generate_signing_key(), generate_sealing_key()
    for key in (signing, sealing):
        assert "bytes" not in repr(key)
        assert key.private_bytes().hex()[:16] not in repr(key)
    assert signing.verify_key.key_id[:16] in repr(signing)


def test_a_signing_key_has_32_bytes() -> None:
    with pytest.raises(KeyFormatError):
        SigningKey(b"short")
