"""An officer's path through `tallystick policy`: template, lint, show, draft, sign, verify, suspend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from crypto.canonical import b64u
from crypto.envelope import Envelope
from crypto.keys import SigningKey
from crypto.keystore import Argon2Cost, Keystore
from policies.authoring import fill, load_policy, placeholders, template
from policies.codec import document_hash, envelope_of, format_time, open_document
from policies.ids import Hash256
from policies.signing import SignedDocument
from policies.statements import PolicyAction, PolicyEvent
from tallystick.governance.cli import policy_app
from tests.simulator.policies import (
    CARE,
    NHS,
    POLICE,
    FederationSimulator,
    key_of,
    sample_policy,
    template_values,
)

PASSPHRASE = "an officer's passphrase"
LATER = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", PASSPHRASE)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(policy_app, [str(argument) for argument in arguments])


@pytest.fixture
def draft_file(tmp_path: Path) -> Path:
    text = template("marac-domestic-abuse")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    values = template_values(text) | {
        "charity": "refuge",
        "not_before": format_time(today - timedelta(days=1)),
        "not_after": format_time(today + timedelta(days=300)),
        "review_by": format_time(today + timedelta(days=100)),
    }
    path = tmp_path / "marac.yaml"
    path.write_text(fill(text, {name: values[name] for name in placeholders(text)}))
    return path


@dataclass
class TrustFiles:
    """A federation's root and registry in files, as its office hands them out."""

    folder: Path
    makers: FederationSimulator = field(default_factory=FederationSimulator)

    def __post_init__(self) -> None:
        self.root = replace(self.makers.root(), expires=LATER)
        self.registry = replace(self.makers.registry(version=3), expires=LATER)
        self.write("root.1.json", self.makers.root_signed(self.root))
        self.write("registry.json", self.makers.root_signed(self.registry))

    def write(self, name: str, envelope: Envelope) -> Path:
        path = self.folder / name
        path.write_bytes(envelope.to_bytes())
        return path

    def verify(self, bundle: Path, *more: object, roots: Sequence[str] = ("root.1.json",)) -> Result:
        """`verify` with these files."""
        trust: list[object] = ["--registry", self.folder / "registry.json", "--anchor", self.anchor]
        for name in roots:
            trust += ["--root", self.folder / name]
        return run("verify", bundle, *trust, *more)

    @property
    def anchor(self) -> str:
        return document_hash(self.root)


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrustFiles:
    monkeypatch.setenv("TALLYSTICK_TRUST_DIR", str(tmp_path / "accepted"))
    return TrustFiles(tmp_path)


@pytest.fixture
def signed_bundle(draft_file: Path, tmp_path: Path) -> Path:
    """A bundle with every signature."""
    bundle = tmp_path / "marac.json"
    run("draft", draft_file, "--out", bundle)
    for agency in (POLICE, CARE, NHS, "refuge"):
        assert sign(bundle, f"{agency}.siro", agency, "siro").exit_code == 0
    for agency in (CARE, NHS):
        assert sign(bundle, f"{agency}.guardian", agency, "caldicott_guardian").exit_code == 0
    return bundle


def keystore_of(folder: Path, person: str) -> str:
    path = folder / f"{person}.keys.json"
    Keystore.create(path, PASSPHRASE, cost=Argon2Cost(64, 1, 1)).add_signing("signing", _key(person))
    return f"keystore:{path}#signing"


def _key(person: str) -> SigningKey:
    return key_of(person)


def sign(bundle: Path, person: str, organisation: str, role: str, *more: str) -> Result:
    uri = keystore_of(bundle.parent, person)
    return run("sign", bundle, "--key", uri, "--organisation", organisation, "--role", role, "--yes", *more)


def test_templates_are_listed_and_printed() -> None:
    assert "marac-domestic-abuse" in run("template").stdout
    assert "sharing-policy/v1" in run("template", "clares-law").stdout
    refused = run("template", "nothing-like-it")
    assert refused.exit_code == 1
    assert "there is no template" in refused.stderr


def test_from_draft_to_full_quorum(draft_file: Path, trust: TrustFiles, tmp_path: Path) -> None:
    bundle = tmp_path / "marac.json"
    assert run("draft", draft_file, "--out", bundle).exit_code == 0
    again = run("draft", draft_file, "--out", bundle)
    assert again.exit_code == 1
    assert "exists" in again.stderr

    nothing = trust.verify(bundle, "--json")
    assert nothing.exit_code == 1
    assert len(json.loads(nothing.stdout)["missing"]) >= 4

    for agency in (POLICE, CARE, NHS, "refuge"):
        sign(bundle, f"{agency}.siro", agency, "siro")
    partly = trust.verify(bundle)
    assert partly.exit_code == 1
    assert "Caldicott Guardian" in partly.stdout

    for agency in (CARE, NHS):
        assert sign(bundle, f"{agency}.guardian", agency, "caldicott_guardian").exit_code == 0
    complete = trust.verify(bundle)
    assert complete.exit_code == 0, complete.stdout
    assert "Every signature that is needed is there." in complete.stdout
    assert "registry: version 3 of testshire, signed, in force until 01 January 2099" in complete.stdout


def refused_registry(
    trust: TrustFiles, bundle: Path, why: str, *, roots: Sequence[str] = ("root.1.json",)
) -> None:
    result = trust.verify(bundle, roots=roots)
    assert result.exit_code == 1
    assert why in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("holders", [(), ("root.ada",), ("root.ada", "police.siro")])
def test_a_registry_without_its_signatures_is_refused(
    holders: tuple[str, ...], signed_bundle: Path, trust: TrustFiles
) -> None:
    trust.write("registry.json", trust.makers.root_signed(trust.registry, holders))
    refused_registry(trust, signed_bundle, f"{min(len(holders), 1)} of the 2 persons of the root's threshold")


def test_an_unsigned_registry_of_long_ago_is_refused(signed_bundle: Path, trust: TrustFiles) -> None:
    old = replace(trust.registry, expires=datetime(2020, 1, 1, tzinfo=UTC))
    trust.write("registry.json", envelope_of(old))
    refused_registry(trust, signed_bundle, "threshold")
    trust.write("registry.json", trust.makers.root_signed(old))
    refused_registry(trust, signed_bundle, "registry/v1 version 3 expired at 2020-01-01")


def test_an_altered_registry_is_refused(signed_bundle: Path, trust: TrustFiles) -> None:
    good = trust.makers.root_signed(trust.registry)
    officers = tuple(item for item in trust.registry.officers if item.organisation != CARE)
    forged = envelope_of(replace(trust.registry, officers=officers))
    trust.write("registry.json", replace(forged, signatures=good.signatures))
    refused_registry(trust, signed_bundle, "signature is wrong")


def test_an_expired_root_is_refused(signed_bundle: Path, trust: TrustFiles) -> None:
    trust.root = replace(trust.root, expires=datetime(2020, 1, 1, tzinfo=UTC))
    trust.write("root.1.json", trust.makers.root_signed(trust.root))
    refused_registry(trust, signed_bundle, "root/v1 version 1 expired")


def test_another_federations_root_is_refused(signed_bundle: Path, trust: TrustFiles) -> None:
    trust.write("root.1.json", trust.makers.root_signed(replace(trust.root, expires=LATER - timedelta(1))))
    refused_registry(trust, signed_bundle, "not the one that the anchor names")


def test_a_registry_older_than_one_accepted_before_is_refused(signed_bundle: Path, trust: TrustFiles) -> None:
    assert trust.verify(signed_bundle).exit_code == 0
    trust.write("registry.json", trust.makers.root_signed(replace(trust.registry, version=2)))
    refused_registry(trust, signed_bundle, "the registry has version 2; 3 is known")
    officers = trust.registry.officers[1:]
    trust.write("registry.json", trust.makers.root_signed(replace(trust.registry, officers=officers)))
    refused_registry(trust, signed_bundle, "two different registries have version 3")
    trust.write("registry.json", trust.makers.root_signed(replace(trust.registry, version=4)))
    assert trust.verify(signed_bundle).exit_code == 0


def test_an_expired_registry_is_still_what_an_older_one_is_measured_against(
    signed_bundle: Path, trust: TrustFiles, tmp_path: Path
) -> None:
    assert trust.verify(signed_bundle).exit_code == 0
    past = replace(trust.registry, version=9, expires=datetime(2020, 1, 1, tzinfo=UTC))
    (kept,) = (tmp_path / "accepted").iterdir()
    held = json.loads(kept.read_text())
    kept.write_text(json.dumps(held | {"registry": b64u(trust.makers.root_signed(past).to_bytes())}))
    refused_registry(trust, signed_bundle, "the registry has version 3; 9 is known")


def test_a_root_that_was_replaced_vouches_for_nothing_any_more(
    signed_bundle: Path, trust: TrustFiles
) -> None:
    """Ada's key was stolen: the next root is Bob's and Cyd's, and only Ada and Bob signed the registry."""
    without_ada = tuple(key for key in trust.root.keys if key.person != "root.ada")
    second = replace(trust.root, version=2, keys=without_ada)
    trust.write("root.2.json", trust.makers.root_signed(second, ("root.ada", "root.bob", "root.cyd")))
    both = ("root.1.json", "root.2.json")
    refused_registry(trust, signed_bundle, "1 of the 2 persons", roots=both)
    old = trust.makers.root_signed(trust.registry)
    trust.write("registry.json", trust.makers.root_signed(trust.registry, ("root.bob", "root.cyd")))
    assert trust.verify(signed_bundle, roots=both).exit_code == 0
    trust.write("registry.json", old)
    refused_registry(trust, signed_bundle, "1 of the 2 persons")
    refused_registry(trust, signed_bundle, "is not the root 1 that was accepted", roots=both[::-1])


def test_without_an_anchor_nothing_is_verified(signed_bundle: Path, trust: TrustFiles) -> None:
    files = ("--registry", trust.folder / "registry.json", "--root", trust.folder / "root.1.json")
    for given in (files, (*files[:2], "--anchor", trust.anchor)):
        result = run("verify", signed_bundle, *given)
        assert result.exit_code == 2
        assert result.stdout == ""


def test_damaged_memory_is_a_sentence(signed_bundle: Path, trust: TrustFiles, tmp_path: Path) -> None:
    assert trust.verify(signed_bundle).exit_code == 0
    (kept,) = (tmp_path / "accepted").iterdir()
    for text in ("{", "{}", '{"registry":"","roots":[]}', '{"registry":1,"roots":["aa"]}'):
        kept.write_text(text)
        refused_registry(trust, signed_bundle, "is damaged")


def test_a_rejection_keeps_the_policy_from_force(draft_file: Path, trust: TrustFiles, tmp_path: Path) -> None:
    bundle = tmp_path / "marac.json"
    run("draft", draft_file, "--out", bundle)
    sign(bundle, "police.siro", POLICE, "siro", "--reject", "--comment", "Retention is too long.")
    verified = trust.verify(bundle)
    assert verified.exit_code == 1
    assert "REJECTED: police.siro" in verified.stdout


def test_signing_refuses_a_page_that_the_officer_did_not_read(draft_file: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "marac.json"
    run("draft", draft_file, "--out", bundle)
    refused = sign(bundle, "police.siro", POLICE, "siro", "--page-hash", "0" * 64)
    assert refused.exit_code == 1
    assert "not what you read" in refused.stderr


def test_wrong_passphrase_is_a_sentence(
    draft_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "marac.json"
    run("draft", draft_file, "--out", bundle)
    uri = keystore_of(tmp_path, "police.siro")
    monkeypatch.setenv("TALLYSTICK_PASSPHRASE", "wrong")
    refused = run("sign", bundle, "--key", uri, "--organisation", POLICE, "--role", "siro", "--yes")
    assert refused.exit_code == 1
    assert "passphrase" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_lint_names_what_is_missing_and_exits_accordingly(draft_file: Path) -> None:
    assert run("lint", draft_file).exit_code == 0
    lines = draft_file.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip() == "dpia:")
    draft_file.write_text("\n".join(lines[:start] + lines[start + 4 :]))
    found = run("lint", draft_file, "--json")
    assert found.exit_code == 1
    assert any(finding["severity"] == "error" for finding in json.loads(found.stdout))


def test_a_mistake_in_a_draft_is_named_with_its_place(draft_file: Path) -> None:
    draft_file.write_text(draft_file.read_text().replace("tier: 2", "tier: 9"))
    shown = run("show", draft_file)
    assert shown.exit_code == 1
    assert "clauses[2]" in shown.stderr


def test_an_agency_whose_name_is_withheld_releases_nothing(draft_file: Path, tmp_path: Path) -> None:
    """As at its node, for an answer would name it. That there is a link, the broker tells."""
    hidden = tmp_path / "hidden.yaml"
    hidden.write_text(draft_file.read_text().replace("name_withheld: false", "name_withheld: true"))

    def said(file: Path, tier: int) -> dict[tuple[str, str], str]:
        asked = ("--provider", CARE, "--recipient", POLICE, "--role", "investigator", "--tier", tier,
                 "--purpose", "domestic_abuse_risk", "--age-days", 30, "--approvals", 2)  # fmt: skip
        rows = json.loads(run("simulate", file, *asked, "--json").stdout)
        return {(row["record_type"], row["field"]): row["decision"] for row in rows}

    for tier in range(4):
        shown, decided = said(draft_file, tier), said(hidden, tier)
        assert any(decision.startswith("released") for decision in shown.values())
        if tier == 0:
            assert decided.pop(("link", "exists")).startswith("released")
        assert set(decided.values()) == {"withheld: the provider's name is withheld"}
    changes = run("diff", hidden, draft_file).stdout
    assert "MORE: care -> police" in changes and "incident.summary" in changes


def test_simulate_and_diff_show_decisions(draft_file: Path, tmp_path: Path) -> None:
    asked = ("--provider", CARE, "--recipient", POLICE, "--role", "investigator", "--tier", "2",
             "--purpose", "domestic_abuse_risk", "--age-days", "30", "--json")  # fmt: skip
    before = {row["field"]: row["decision"] for row in json.loads(run("simulate", draft_file, *asked).stdout)}
    assert before["summary"].startswith("needs 1 more approvals")
    approved = run("simulate", draft_file, *asked, "--approvals", "1").stdout
    assert any(
        row["field"] == "summary" and row["decision"].startswith("released") for row in json.loads(approved)
    )
    for marker, why in (
        ("refuge", "withheld: safe address or refuge"),
        ("refugee", "withheld: marked with a word that the policy does not name"),
        ("legally_privileged", "withheld by clause"),
    ):
        marked = json.loads(run("simulate", draft_file, *asked, "--marker", marker).stdout)
        assert all(row["decision"].startswith(why) for row in marked if row["record_type"] != "link")
    policy = load_policy(draft_file.read_text(), draft_file.name)
    looser = tmp_path / "looser.yaml"
    looser.write_text(
        draft_file.read_text().replace(
            "approvals: {count: 1, from_provider: 0}", "approvals: {count: 0, from_provider: 0}"
        )
    )
    assert policy.clauses[2].approvals.count == 1
    changes = run("diff", draft_file, looser).stdout
    assert "MORE: care -> police" in changes
    assert run("diff", draft_file, draft_file).stdout.split("\n")[:2] == [
        "No decision changes.",
        "No term changes.",
    ]


def test_diff_shows_a_raised_limit_that_changes_no_decision(draft_file: Path) -> None:
    louder = draft_file.with_name("louder.yaml")
    louder.write_text(draft_file.read_text().replace("officers_per_subject: 4", "officers_per_subject: 9"))
    said = run("diff", draft_file, louder).stdout
    assert "No decision changes." in said
    assert "term safeguards.alarms.officers_per_subject: 4 -> 9" in said
    found = json.loads(run("diff", draft_file, louder, "--json").stdout)
    assert found["decisions"] == []
    assert [item["where"] for item in found["terms"]] == ["safeguards.alarms.officers_per_subject"]


@pytest.mark.parametrize("act", ["suspend", "reactivate", "revoke"])
def test_one_officer_signs_what_stops_or_starts_a_policy(act: str, draft_file: Path, tmp_path: Path) -> None:
    bundle, out = tmp_path / "marac.json", tmp_path / "event.json"
    run("draft", draft_file, "--out", bundle)
    officer = ("--key", keystore_of(tmp_path, "care.siro"), "--organisation", CARE, "--role", "siro")
    why = ("--reason", "A record was sent to the wrong team.", "--sequence", "4")
    done = run(act, bundle, *officer, *why, "--out", out)
    assert done.exit_code == 0, done.stderr
    event = open_document(PolicyEvent, Envelope.from_bytes(out.read_bytes()))
    assert (event.action, event.organisation, event.sequence) == (PolicyAction(act), CARE, 4)


@pytest.mark.parametrize(
    ("begins", "said"),
    [(-1, "No earlier version comes back"), (1, "still ends at")],
    ids=["in force", "in its cooling-off"],
)
@pytest.mark.parametrize("act", ["suspend", "revoke", "reactivate"])
def test_stopping_a_newer_version_says_what_becomes_of_the_older(
    act: str, begins: int, said: str, tmp_path: Path
) -> None:
    bundle, out = tmp_path / "marac.json", tmp_path / "event.json"
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=begins)
    times = {"not_before": start, "review_by": start, "not_after": start + timedelta(days=9)}
    second = sample_policy(version=2, supersedes=Hash256("0" * 64), **times)
    bundle.write_bytes(SignedDocument(envelope_of(second)).to_bytes())
    officer = ("--key", keystore_of(tmp_path, "care.siro"), "--organisation", CARE, "--role", "siro")
    done = run(act, bundle, *officer, "--reason", "Wrong team.", "--sequence", "0", "--out", out)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == (1 if act == "reactivate" else 2)
    assert (said in lines[-1]) is (act != "reactivate")


def test_export_writes_readable_parts(draft_file: Path, tmp_path: Path) -> None:
    bundle, out = tmp_path / "marac.json", tmp_path / "parts"
    run("draft", draft_file, "--out", bundle)
    sign(bundle, "police.siro", POLICE, "siro")
    assert run("export", bundle, "--out", out).exit_code == 0
    assert {path.name for path in out.iterdir()} == {
        "document.json",
        "document.envelope.json",
        "page.txt",
        "statement.1.json",
    }
    assert (out / "page.txt").read_text().startswith("SHARING POLICY")
