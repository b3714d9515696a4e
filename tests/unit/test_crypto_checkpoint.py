"""Signed tree heads and witnesses."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from crypto.checkpoint import (
    MAX_SIGNATURES,
    Checkpoint,
    Cosignature,
    NoteSignature,
    SignedCheckpoint,
    add_cosignature,
    cosign,
    note_key_id,
    parse_checkpoint,
    parse_cosignature,
    sign_checkpoint,
    verified_cosignatures,
    verify_checkpoint,
)
from crypto.errors import CheckpointError, SignatureError
from crypto.keys import SigningKey, VerifyKey, generate_signing_key

# The example of c2sp.org/tlog-cosignature.
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0"
    "xUe+mbIUBkBIfZ+qnA==\n"
).encode()
TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHECKPOINT = Checkpoint("demo/agency/a/audit", 5, b"\x07" * 32)


@pytest.fixture
def log() -> SigningKey:
    return generate_signing_key()


@pytest.fixture
def witness() -> SigningKey:
    return generate_signing_key()


def test_the_example_of_the_specification_is_read_and_written() -> None:
    signed = parse_checkpoint(EXAMPLE)
    assert signed.checkpoint.origin == "example.com/behind-the-sofa"
    assert signed.checkpoint.size == 20852163
    assert signed.to_bytes() == EXAMPLE
    timestamp = int.from_bytes(signed.signatures[1].value[:8], "big")
    assert timestamp == 1679315147


def test_key_ids_and_signatures_are_those_of_the_reference_implementation() -> None:
    # The signer, text and signature of golang.org/x/mod/sumdb/note.
    seed = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    text = (
        b"If you think cryptography is the answer to your problem,\n"
        b"then you don't know what your problem is.\n"
    )
    key = SigningKey(seed)
    key_id = note_key_id("PeterNeumann", key.verify_key, b"\x01")
    assert key_id.hex() == "c74f20a3"
    assert NoteSignature("PeterNeumann", key_id, key.sign(text)).line == (
        "\u2014 PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )


def test_a_signed_checkpoint_verifies(log: SigningKey) -> None:
    signed = parse_checkpoint(sign_checkpoint(CHECKPOINT, log).to_bytes())
    assert verify_checkpoint(signed, CHECKPOINT.origin, log.verify_key) == CHECKPOINT


def test_another_log_or_key_is_refused(log: SigningKey, witness: SigningKey) -> None:
    signed = sign_checkpoint(CHECKPOINT, log)
    with pytest.raises(CheckpointError, match="another log"):
        verify_checkpoint(signed, "demo/agency/b/audit", log.verify_key)
    with pytest.raises(SignatureError, match="not signed by the log"):
        verify_checkpoint(signed, CHECKPOINT.origin, witness.verify_key)
    renamed = replace(signed, checkpoint=replace(CHECKPOINT, origin="demo/agency/b/audit"))
    with pytest.raises(SignatureError):
        verify_checkpoint(renamed, "demo/agency/b/audit", log.verify_key)


def test_every_changed_byte_is_noticed(log: SigningKey, witness: SigningKey) -> None:
    signed = sign_checkpoint(CHECKPOINT, log)
    data = add_cosignature(signed, cosign(CHECKPOINT, "w", witness, TIME)).to_bytes()
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 1
        try:
            found = parse_checkpoint(bytes(changed))
            verify_checkpoint(found, CHECKPOINT.origin, log.verify_key)
            witnesses = verified_cosignatures(found, {"w": witness.verify_key})
        except (CheckpointError, SignatureError):
            continue
        # What is left is a change of the witness's name or key id: an unknown witness counts for nothing.
        assert witnesses == (), f"byte {index} could be changed"


def test_a_witness_states_a_time(log: SigningKey, witness: SigningKey) -> None:
    line = cosign(CHECKPOINT, "demo/w", witness, TIME)
    message = f"cosignature/v1\ntime {int(TIME.timestamp())}\n{CHECKPOINT.text}".encode()
    witness.verify_key.verify(line.value[8:], message)
    signed = add_cosignature(sign_checkpoint(CHECKPOINT, log), parse_cosignature(line.line + "\n"))
    again = parse_checkpoint(signed.to_bytes())
    assert verified_cosignatures(again, {"demo/w": witness.verify_key}) == (Cosignature("demo/w", TIME),)
    local = TIME.astimezone(timezone(timedelta(hours=5)))
    assert cosign(CHECKPOINT, "demo/w", witness, local) == line


def test_a_changed_time_or_tree_is_refused(log: SigningKey, witness: SigningKey) -> None:
    line = cosign(CHECKPOINT, "w", witness, TIME)
    later = replace(line, value=(int(TIME.timestamp()) + 1).to_bytes(8, "big") + line.value[8:])
    short = replace(line, value=line.value[:-1])
    known = {"w": witness.verify_key}
    for wrong in (later, short):
        with pytest.raises(SignatureError):
            verified_cosignatures(SignedCheckpoint(CHECKPOINT, (wrong,)), known)
    with pytest.raises(SignatureError):
        verified_cosignatures(SignedCheckpoint(replace(CHECKPOINT, size=6), (line,)), known)


def test_unknown_witnesses_count_for_nothing(witness: SigningKey) -> None:
    signed = SignedCheckpoint(CHECKPOINT, (cosign(CHECKPOINT, "w", witness, TIME),))
    assert verified_cosignatures(signed, {}) == ()
    assert verified_cosignatures(signed, {"other": witness.verify_key}) == ()
    assert verified_cosignatures(signed, {"w": generate_signing_key().verify_key}) == ()


def test_the_same_key_under_two_names_counts_once(witness: SigningKey) -> None:
    lines = (cosign(CHECKPOINT, "w1", witness, TIME), cosign(CHECKPOINT, "w2", witness, TIME))
    known = {"w1": witness.verify_key, "w2": VerifyKey(witness.verify_key.raw)}
    assert len(verified_cosignatures(SignedCheckpoint(CHECKPOINT, lines), known)) == 1


def test_the_log_is_not_its_own_witness(log: SigningKey) -> None:
    signed = sign_checkpoint(CHECKPOINT, log)
    assert verified_cosignatures(signed, {CHECKPOINT.origin: log.verify_key}) == ()


def test_a_newer_cosignature_replaces_the_older(log: SigningKey, witness: SigningKey) -> None:
    signed = sign_checkpoint(CHECKPOINT, log)
    for hours in (0, 1):
        signed = add_cosignature(signed, cosign(CHECKPOINT, "w", witness, TIME + timedelta(hours=hours)))
    found = verified_cosignatures(signed, {"w": witness.verify_key})
    assert [item.time for item in found] == [TIME + timedelta(hours=1)]


def test_extension_lines_are_signed(log: SigningKey) -> None:
    checkpoint = replace(CHECKPOINT, extensions=("one", "two 2"))
    signed = parse_checkpoint(sign_checkpoint(checkpoint, log).to_bytes())
    assert verify_checkpoint(signed, checkpoint.origin, log.verify_key).extensions == ("one", "two 2")
    with pytest.raises(SignatureError):
        verify_checkpoint(replace(signed, checkpoint=CHECKPOINT), checkpoint.origin, log.verify_key)


@pytest.mark.parametrize(
    "change",
    [
        (b"20852163", b"020852163"),
        (b"20852163", b"-1"),
        (b"20852163", b"+1"),
        (b"20852163", b"1_0"),
        (b"20852163", b"9223372036854775808"),
        (b"20852163", "\u0661".encode()),
        (b"q2I=\n\n", b"q2J=\n\n"),
        (b"q2I=\n\n", b"q2I\n\n"),
        (b"q2I=\n\n", b"q2I=\n"),
        (b"q2I=\n\n", b"q2I=\nx\x01\n\n"),
        (b"q2I=\n\n", b"q2I=\n\n\n\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"example.com/behind-the-sofa\n2", b"\n2"),
        (b"example.com/behind-the-sofa\n2", b"example.com sofa\n2"),
        (b"example.com/behind-the-sofa\n2", b"a+b\n2"),
        (b"example.com/behind-the-sofa\n2", b"cosignature/v1\n2"),
        (b"example.com/behind-the-sofa\n2", b"2"),
        (b"nA==\n", b"nA=="),
        (b"nA==\n", b"nA==\n\n"),
        (b"nA==\n", b"nA==\nmore\n"),
        (b"\xe2\x80\x94 w", b"- w"),
        (b" jWbPPwAAAABk", b" !"),
        (b" jWbPPwAAAABk", b"  jWbPPwAAAABk"),
        (b"nA==\n", b"nA==\n\xe2\x80\x94 w jWbPPw==\n"),
        (b"sofa\n", b"sofa\xff\n"),
    ],
)
def test_malformed_notes_are_refused(change: tuple[bytes, bytes]) -> None:
    assert change[0] in EXAMPLE
    with pytest.raises(CheckpointError):
        parse_checkpoint(EXAMPLE.replace(change[0], change[1], 1))


def test_notes_are_bounded(log: SigningKey) -> None:
    with pytest.raises(CheckpointError, match="bytes"):
        parse_checkpoint(b"x" * 65_537)
    line = EXAMPLE.splitlines(keepends=True)[-1]
    with pytest.raises(CheckpointError, match="twice"):
        parse_checkpoint(EXAMPLE + line)
    many = tuple(NoteSignature(f"w{n}", b"1234", b"x") for n in range(MAX_SIGNATURES))
    with pytest.raises(CheckpointError, match="at most"):
        add_cosignature(SignedCheckpoint(CHECKPOINT, many), NoteSignature("w", b"1234", b"x"))
    full = SignedCheckpoint(CHECKPOINT, (*many, NoteSignature("w", b"1234", b"x")))
    with pytest.raises(CheckpointError, match="at most"):
        parse_checkpoint(full.to_bytes())


def test_values_out_of_range_are_refused(witness: SigningKey) -> None:
    for wrong in (
        {"size": -1},
        {"size": 2**63},
        {"root": b""},
        {"origin": ""},
        {"extensions": ("",)},
        {"extensions": ("a\nb",)},
    ):
        with pytest.raises(CheckpointError):
            Checkpoint(**{"origin": "a", "size": 1, "root": bytes(32), **wrong})  # type: ignore[arg-type]  # the point
    for time in (datetime(2026, 1, 1), datetime(1969, 1, 1, tzinfo=UTC)):
        with pytest.raises(CheckpointError):
            cosign(CHECKPOINT, "w", witness, time)
    with pytest.raises(CheckpointError):
        cosign(CHECKPOINT, "a witness", witness, TIME)
