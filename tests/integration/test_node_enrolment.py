"""A node joins: request, office, answer; and what is not this node's is refused."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.cli import node_app
from agency_node.config import load_config
from agency_node.errors import NodeError
from agency_node.setup import check_config, install, read_answer
from crypto.keys import generate_signing_key
from crypto.keystore import Keystore
from crypto.pki import PeerIdentity, PeerRole, make_key_and_request
from policies.codec import parse, write
from policies.enrolment import AgencyRequest, BrokerRequest, EnrolmentAnswer, Pem
from policies.ids import AgencyId, FederationId, Line, PersonId
from policies.root import Root, RootKey
from tallystick.federation.office import FederationOffice

FEDERATION = FederationId("testfed")
PASSPHRASE = "a passphrase"
RUNNER = CliRunner()


@pytest.fixture
def office(tmp_path: Path) -> FederationOffice:
    now = datetime.now(UTC).replace(microsecond=0)
    holder = generate_signing_key()
    root = Root(
        FEDERATION,
        1,
        now + timedelta(days=365),
        1,
        1,
        (RootKey(PersonId("anna"), AgencyId("police"), holder.verify_key),),
    )
    made = FederationOffice.create(tmp_path / "office", root, PASSPHRASE, now)
    made.sign_root(holder)
    _, csr = make_key_and_request(PeerIdentity(FEDERATION, PeerRole.BROKER, "broker"))
    made.admit(
        BrokerRequest(
            FEDERATION, generate_signing_key().verify_key, Pem(csr.decode()), (Line("localhost"),), ()
        ),
        now,
    )
    made._test_holder = holder  # type: ignore[attr-defined] # only for admit() below
    return made


def admit(office: FederationOffice, request: AgencyRequest) -> EnrolmentAnswer:
    now = datetime.now(UTC)
    office.admit(request, now)
    office.propose_registry(now)
    office.sign_registry(office._test_holder)  # type: ignore[attr-defined] # set by the fixture
    return office.answer(str(request.agency))


def initialised(folder: Path, agency: str = "northmoor") -> AgencyRequest:
    passphrase = folder.parent / "passphrase"
    passphrase.write_text(PASSPHRASE)
    done = RUNNER.invoke(
        node_app,
        [
            *("init", str(folder), "--federation", FEDERATION, "--agency", agency, "--kind", "police"),
            *("--name", "Northmoor Police", "--contact", "ig@northmoor.example"),
            *("--broker", "localhost:7443", "--passphrase-file", str(passphrase)),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "fingerprint out of band" in done.output
    return parse(AgencyRequest, (folder / "enrolment-request.json").read_bytes())


def test_init_enrol_check(tmp_path: Path, office: FederationOffice) -> None:
    folder = tmp_path / "node"
    request = initialised(folder)
    for name in ("keys.json", "tls-key.pem"):
        assert stat.S_IMODE((folder / "data" / name).stat().st_mode) == 0o600
    again = RUNNER.invoke(
        node_app,
        [
            *("init", str(folder), "--federation", FEDERATION, "--agency", "x", "--kind", "police"),
            *("--name", "X", "--contact", "x@x.example", "--broker", "x:1"),
            *("--passphrase-file", str(tmp_path / "passphrase")),
        ],
    )
    assert (again.exit_code, "holds a node already" in again.output) == (1, True)

    answer = tmp_path / "answer.json"
    answer.write_bytes(write(admit(office, request)))
    _, fingerprint = read_answer(answer)
    common = ["--config", str(folder / "node.toml"), "--passphrase-file", str(tmp_path / "passphrase")]
    for given, why in (("0000 " * 8, "not the one given"), ("", "compare the root's fingerprint")):
        refused = RUNNER.invoke(node_app, ["enrol", str(answer), "--fingerprint", given.strip(), *common])
        assert refused.exit_code == 1
        assert why in refused.output
    assert not (folder / "data" / "tls.pem").exists()
    done = RUNNER.invoke(node_app, ["enrol", str(answer), "--fingerprint", fingerprint.upper(), *common])
    assert done.exit_code == 0, done.output
    assert "registry version 1 is in force" in done.output
    # once more, as for a new certificate
    assert (
        RUNNER.invoke(node_app, ["enrol", str(answer), "--fingerprint", fingerprint, *common]).exit_code == 0
    )

    checked = RUNNER.invoke(node_app, ["check-config", *common])
    assert (checked.exit_code, "mapping" in checked.output) == (2, True)
    (folder / "mapping.toml").write_text(
        '[source]\nkind = "csv"\n[people]\ntable = "p.csv"\nsubject_id = "id"\n[people.fields]\nsex = "sex"\n'
    )
    checked = RUNNER.invoke(node_app, ["check-config", *common])
    assert checked.exit_code == 0, checked.output
    away = RUNNER.invoke(node_app, ["status", *common[:2]])
    assert (away.exit_code, "no node is running here" in away.output) == (1, True)
    assert check_config(folder / "node.toml", "wrong", datetime.now(UTC)) != []


def test_what_is_not_this_nodes_is_refused(tmp_path: Path, office: FederationOffice) -> None:
    one, two = initialised(tmp_path / "one", "one"), initialised(tmp_path / "two", "two")
    answer_one, answer_two = admit(office, one), admit(office, two)
    config = load_config(tmp_path / "one" / "node.toml")
    now = datetime.now(UTC)

    def refused(answer: EnrolmentAnswer, why: str) -> None:
        with pytest.raises(NodeError, match=why):
            asyncio.run(install(config, answer, PASSPHRASE, now))
        assert not config.certificate.exists()

    refused(answer_two, "the certificate is for spiffe://testfed/agency/two")
    own_key = config.private_key.read_bytes()
    config.private_key.write_bytes((tmp_path / "two" / "data" / "tls-key.pem").read_bytes())
    refused(answer_one, "does not belong to")
    config.private_key.write_bytes(own_key)
    # the registry lists another signing key for this agency
    swapped = admit(office, replace(one, node_verify_key=generate_signing_key().verify_key))
    refused(replace(answer_one, registry=swapped.registry), "another signing key")
    asyncio.run(install(config, answer_one, PASSPHRASE, now))  # nothing of what was refused is remembered
    assert config.certificate.exists()
    assert "anchor" in Keystore.open(config.keystore, PASSPHRASE).names()
