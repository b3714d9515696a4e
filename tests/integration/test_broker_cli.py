"""`tallystick broker` from an empty folder to an enrolled broker."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import broker_app
from crypto.canonical import b64u
from crypto.pki import PeerRole
from policies.codec import parse, write
from policies.enrolment import Base64Url, BrokerRequest, EnrolmentAnswer, Pem, fingerprint
from tests.federation import FEDERATION, PASSPHRASE, Federation


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(broker_app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_init_enrol_check(tmp_path: Path) -> None:
    home = tmp_path / "home"
    init = ("init", str(home), "--federation", FEDERATION, "--dns", "broker.example", "--ip", "127.0.0.1")
    code, output = run(*init)
    assert code == 0, output
    request = parse(BrokerRequest, (home / "enrolment-request.json").read_bytes())
    assert fingerprint(request) in output
    assert request.dns_names == ("broker.example",)
    for secret in ("tls.key", "keys.json"):
        assert (home / secret).stat().st_mode & 0o077 == 0
    code, output = run(*init)
    assert (code, "holds a broker already" in output) == (2, True)
    config = str(home / "broker.toml")
    code, output = run("check-config", "--config", config)
    assert code == 2
    assert "tls.certificate: cannot read" in output

    federation = Federation.create(tmp_path)
    certificate = federation.ca.issue(
        PeerRole.BROKER,
        "broker",
        request.csr.encode(),
        datetime.now(UTC),
        dns_names=["broker.example"],
        ip_addresses=["127.0.0.1"],
    )
    federation.new_registry(broker_verify_key=request.audit_key)
    answer = tmp_path / "answer.json"
    answer.write_bytes(
        write(
            EnrolmentAnswer(
                federation=federation.registry.federation,
                certificate=Pem(certificate.decode()),
                federation_ca=Pem(federation.ca.certificate_pem.decode()),
                roots=(Base64Url(b64u(federation.root_envelope.to_bytes())),),
                registry=Base64Url(b64u(federation.registry_envelope.to_bytes())),
            )
        )
    )
    code, output = run("enrol", str(answer), "--config", config, "--fingerprint", "0000 1111")
    assert (code, "Do not go on before you know why" in output) == (2, True)
    code, output = run(
        "enrol", str(answer), "--config", config, "--fingerprint", fingerprint(federation.root)
    )
    assert (code, "registry version 2 is in force" in output) == (0, True), output
    assert run("check-config", "--config", config) == (0, f"{config}: good\n")
    code, output = run("migrate", "--config", config)
    assert (code, "database at revision" in output) == (0, True)


def test_wrong_use_exits_with_two(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    for arguments in (("run", "--config", missing), ("migrate", "--config", missing), ("init",)):
        assert run(*arguments)[0] == 2
    code, output = run("init", str(tmp_path / "x"), "--federation", FEDERATION)
    assert (code, "--dns or --ip" in output) == (2, True)
