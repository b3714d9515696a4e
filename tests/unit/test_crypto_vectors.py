"""The golden vectors: what the code makes now is what SPEC's readers were given, and it still reads it."""

import json
from typing import Any

import pytest

from crypto import merkle
from crypto.audit import AuditLeaf, open_details
from crypto.canonical import canonical_json
from crypto.checkpoint import parse_checkpoint, verified_cosignatures, verify_checkpoint
from crypto.envelope import Envelope, verified_keys
from crypto.errors import SealError
from crypto.keys import SealingPrivateKey, SigningKey
from crypto.seal import SealContext, open_sealed
from crypto.tokens import LinkToken
from tests.vectors import make_crypto


@pytest.fixture(scope="module")
def vectors() -> Any:
    return json.loads(make_crypto.FILE.read_bytes())


def test_the_file_is_what_the_script_makes() -> None:
    assert make_crypto.make() == make_crypto.FILE.read_text()


def test_canonical_json(vectors: Any) -> None:
    for case in vectors["canonical"]:
        assert canonical_json(case["value"]) == case["canonical"].encode()


def test_envelope(vectors: Any) -> None:
    case = vectors["envelope"]
    keys = [SigningKey(bytes.fromhex(seed)).verify_key for seed in case["seeds"]]
    envelope = Envelope.from_bytes(case["envelope"].encode())
    assert envelope.pae == case["pae"].encode()
    assert verified_keys(envelope, keys) == set(keys)
    assert [key.key_id for key in keys] == case["key_ids"]


def test_token(vectors: Any) -> None:
    case = vectors["token"]
    assert LinkToken.parse(case["text"]).raw.hex() == case["raw"]


def test_sealed_messages_of_the_past_still_open(vectors: Any) -> None:
    for suite, case in vectors["seal"].items():
        key = SealingPrivateKey(suite, bytes.fromhex(case["private"]))
        sealed = bytes.fromhex(case["sealed"])
        assert key.public_key.key_id == case["key_id"]
        assert open_sealed(key, sealed, SealContext(*case["context"])) == case["plaintext"].encode()
        with pytest.raises(SealError):
            open_sealed(key, sealed, SealContext(*reversed(case["context"])))


def test_checkpoint(vectors: Any) -> None:
    case = vectors["checkpoint"]
    log = SigningKey(bytes.fromhex(case["log_seed"])).verify_key
    witness = SigningKey(bytes.fromhex(case["witness_seed"])).verify_key
    cosigned = parse_checkpoint(case["cosigned"].encode())
    verify_checkpoint(cosigned, cosigned.checkpoint.origin, log)
    (found,) = verified_cosignatures(cosigned, {"demo/agency/wessex-nhs": witness})
    assert int(found.time.timestamp()) == case["time"]
    assert case["cosigned"].startswith(case["signed"])


def test_audit(vectors: Any) -> None:
    case = vectors["audit"]
    frontier = merkle.MerkleFrontier()
    for entry in case["entries"]:
        data = entry["leaf"].encode()
        leaf = AuditLeaf.from_bytes(data)
        assert merkle.leaf_hash(data).hex() == entry["leaf_hash"]
        details = open_details(leaf, bytes.fromhex(entry["sealed"]), bytes.fromhex(case["data_key"]))
        assert details.actor == "officer-17"
        frontier.append(data)
    assert frontier.root().hex() == case["root"]


def test_a_drifted_file_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    drifted = tmp_path / "crypto.json"
    text = make_crypto.FILE.read_text()
    monkeypatch.setattr(make_crypto, "FILE", drifted)
    monkeypatch.setattr("sys.argv", ["make_crypto", "--check"])
    drifted.write_text(text)
    assert make_crypto.main() == 0
    drifted.write_text(text.replace('"epoch": 7', '"epoch": 8'))
    assert make_crypto.main() == 1
    assert "drifted" in capsys.readouterr().out
