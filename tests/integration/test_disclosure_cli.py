"""What officers type, against real services behind a real control socket."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.audit_cli import audit_app
from agency_node.disclosure.cli import approve_app, request_app
from agency_node.disclosure.oversight_cli import supervise_app
from agency_node.disclosure.service import Disclosure
from agency_node.rpc.ports import PreparedDocument
from policies.codec import document_hash, payload_type, write
from policies.ids import Hash256
from policies.render import page_hash, render_policy
from policies.statements import SigningStatement
from policies.vocabulary import Decision, OfficerRole
from tests.integration.test_node_audit_export import enrol
from tests.simulator.desk import Desk
from tests.simulator.disclosure_nodes import SUSAN_AT_CARE, SUSAN_AT_POLICE, TOKEN, make_world
from tests.simulator.policies import CARE, POLICE

ASK = (
    "ask", TOKEN.text, "--officer", "police.investigator", "--role", "investigator",
    "--purpose", "domestic_abuse_risk", "--necessity", "Third call in a month.", "--case", "CASE-77", "--yes",
)  # fmt: skip


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    world = await make_world()
    await enrol(world)
    # A socket's path is short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        made = Desk(Path(folder), world)
        await made.open()
        yield made
        await made.close()


async def test_from_question_to_picture(desk: Desk) -> None:
    asked = await desk.run(request_app, POLICE, *ASK, "--tier", "2", *desk.key("police.investigator"))
    assert asked.exit_code == 0 and "Sent to care: summary" in asked.output
    await desk.world.deliver()
    queue = await desk.run(approve_app, CARE, "queue", "--json")
    (waiting,) = json.loads(queue.output)
    assert (waiting["agency"], waiting["approvals_needed"]) == ("police", 1)
    approved = await desk.run(
        approve_app, CARE, "approve", waiting["request"], "--officer", "care.approver",
        "--reason", "Proportionate.", *desk.key("care.approver"), "--yes",
    )  # fmt: skip
    assert "The request is now: released" in approved.output
    form = await desk.run(approve_app, CARE, "form", waiting["request"], *desk.look(CARE))
    assert "Lawful basis:" in form.output and "Decided by:             care.approver" in form.output
    as_json = await desk.run(approve_app, CARE, "form", waiting["request"], "--json", *desk.look(CARE))
    assert json.loads(as_json.output)["annex_b"]["case_reference"] == "CASE-77"
    await desk.world.deliver()
    none = await desk.run(approve_app, POLICE, "form", waiting["request"], *desk.look(POLICE))
    assert none.exit_code == 1 and "has not decided" in none.output
    shown = await desk.run(request_app, POLICE, "show", waiting["request"], *desk.look(POLICE))
    assert "OFFICIAL-SENSITIVE" in shown.output and "Neighbour heard shouting." in shown.output
    assert "incident, summary: withheld by clause 5" in shown.output and "Hidden" not in shown.output
    listed = await desk.run(request_app, POLICE, "list")
    assert "summary: released" in listed.output and "1 requests" in listed.output
    seen = await desk.run(request_app, POLICE, "picture", SUSAN_AT_POLICE, "--json", *desk.look(POLICE))
    rows = json.loads(seen.output)
    assert {row["provenance"]["agency"] for row in rows} == {"care"}
    assert all(set(row["provenance"]) == {"agency", "record", "release", "policy"} for row in rows)
    picture = await desk.run(request_app, POLICE, "picture", SUSAN_AT_POLICE, *desk.look(POLICE))
    assert (
        "care, incident (received)" in picture.output and "[summary: withheld by clause 5]" in picture.output
    )


async def test_an_officer_reads_what_they_approve_before_they_sign(desk: Desk) -> None:
    await desk.run(request_app, POLICE, *ASK, "--tier", "3", *desk.key("police.investigator"))
    await desk.world.deliver()
    (made,) = json.loads((await desk.run(request_app, POLICE, "list", "--json")).output)
    for agency, way in ((POLICE, "made by your agency, to care"), (CARE, "made to your agency, by police")):
        words = ("approve", made["request"], *desk.order(f"{agency}.approver", "approver"))
        thought_better = await desk.run(approve_app, agency, *words, typed="n\n")
        assert thought_better.exit_code == 1 and "Approved" not in thought_better.output
        held = await desk.world.nodes[agency].disclosure.get_request(made["request"])
        assert held.summary.approvals == (0 if agency == POLICE else 1)
        approved = await desk.run(approve_app, agency, *words, typed="y\n")
        assert "Approved." in approved.output, approved.output
        shown = approved.output.partition("Sign this?")[0]
        for line in (
            f"  Request:    {made['request']}", f"  Which way:  {way}",
            "  Asked by:   police.investigator, investigator, of police", "  Purpose:    domestic abuse risk",
            "  Tier:       3, full record", "  Case:       CASE-77", "  Asked for:  incident: ",
            "    | Third call in a month.",
            f"You sign, as approver of {agency}: approve, because\n    | It is right.",
        ):  # fmt: skip
            assert line in shown
        await desk.world.deliver()
    assert (await desk.world.police.disclosure.get_request(made["request"])).summary.state == "released"


async def test_an_officer_reads_what_they_ask_before_they_sign(desk: Desk) -> None:
    words = (*ASK[:-1], *desk.key("police.investigator"))
    thought_better = await desk.run(request_app, POLICE, *words, typed="n\n")
    assert thought_better.exit_code == 1
    assert not await desk.world.police.disclosure.list_requests("made")
    asked = await desk.run(request_app, POLICE, *words, typed="y\n")
    assert asked.exit_code == 0, asked.output
    shown = asked.output.partition("Sign this?")[0]
    assert "  Which way:  to care" in shown and "  Asked for:  risk assessment: " in shown


async def test_a_node_has_its_officers_sign_nothing_else(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    handed_in: list[bytes] = []

    async def a_statement(*_: object) -> PreparedDocument:
        statement = SigningStatement(
            Hash256(document_hash(desk.world.policy)),
            page_hash(render_policy(desk.world.policy)),
            POLICE,
            OfficerRole.SIRO,
            Decision.APPROVE,
            desk.world.clock.now,
        )
        return PreparedDocument(write(statement), payload_type(SigningStatement))

    async def take(envelope: bytes) -> str:
        handed_in.append(envelope)
        return "done"

    for name in ("request", "order"):
        monkeypatch.setattr(Disclosure, f"prepare_{name}", a_statement)
        monkeypatch.setattr(Disclosure, f"submit_{name}", take)
    own = desk.order("police.investigator", "investigator")
    for words in ((*ASK, *desk.key("police.investigator")), ("withdraw", "request-0001", *own)):
        refused = await desk.run(request_app, POLICE, *words)
        assert refused.exit_code == 1 and "nothing was signed" in refused.output
    assert not handed_in


@pytest.mark.parametrize("agency", [POLICE, CARE])
async def test_an_officer_takes_an_approval_back(desk: Desk, agency: str) -> None:
    await desk.run(request_app, POLICE, *ASK, "--tier", "3", *desk.key("police.investigator"))
    await desk.world.deliver()
    (made,) = json.loads((await desk.run(request_app, POLICE, "list", "--json")).output)
    words = (made["request"], *desk.order(f"{agency}.approver", "approver"), "--yes")
    for command, answer in (("approve", "Approved."), ("reject", "Rejected.")):
        done = await desk.run(approve_app, agency, command, *words)
        assert done.exit_code == 0 and answer in done.output, done.output
        await desk.world.deliver()
    for node in desk.world.nodes.values():
        assert (await node.disclosure.get_request(made["request"])).summary.state == "refused"
    again = await desk.run(approve_app, agency, "approve", *words)
    assert again.exit_code == 1 and "the request is refused already" in again.output


async def test_a_refusal_is_one_sentence_and_exit_code_1(desk: Desk) -> None:
    words = [word if word != "domestic_abuse_risk" else "missing_person" for word in ASK]
    refused = await desk.run(request_app, POLICE, *words, *desk.key("police.investigator"))
    assert refused.exit_code == 1 and "the policy is not for this purpose" in refused.output
    assert "Traceback" not in refused.output


async def test_export_and_verify(desk: Desk) -> None:
    await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    await desk.world.deliver()
    folder = desk.folder / "export"
    exported = await desk.run(audit_app, CARE, "export", str(folder), *desk.look(CARE))
    assert exported.exit_code == 0 and "tallystick audit verify" in exported.output
    again = await desk.run(audit_app, CARE, "export", str(folder), *desk.look(CARE))
    assert again.exit_code == 1 and "not empty" in again.output
    report = json.loads(CliRunner().invoke(audit_app, ["verify", str(folder), "--json"]).output)
    assert [item["kind"] for item in report["findings"]] in ([], ["time-went-back"])


EMERGENCY = ("--tier", "2", "--break-glass", "threat to life", "--explanation", "He is at the door.")


async def test_break_glass_from_the_door_to_both_reviews(desk: Desk) -> None:
    words = (*ASK, *EMERGENCY, *desk.key("police.investigator"))
    wrong = await desk.run(request_app, POLICE, *words, typed="a wrong one\n")
    assert wrong.exit_code == 1  # the file has the right one: it does not count
    asked = await desk.run(request_app, POLICE, *words, typed="correct horse\n")
    assert asked.exit_code == 0 and "both privacy officers are told" in asked.output, asked.output
    await desk.world.deliver()
    for agency in (POLICE, CARE):
        queue = await desk.run(approve_app, agency, "emergencies", "--json")
        (item,) = json.loads(queue.output)
        assert (item["reason_code"], item["overdue"]) == ("threat to life", False)
    request_id = item["request"]
    shown = await desk.run(request_app, POLICE, "show", request_id, *desk.look(POLICE))
    assert "Neighbour heard shouting." in shown.output
    desk.world.clock.advance(hours=25)
    await desk.world.refresh_status()
    late = await desk.run(approve_app, POLICE, "emergencies")
    assert "OVERDUE" in late.output and "He is at the door." in late.output
    refused = await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    assert refused.exit_code == 1 and "not reviewed in time" in refused.output
    for agency in (POLICE, CARE):
        person = f"{agency}.privacy"
        done = await desk.run(
            approve_app, agency, "review", request_id, *desk.order(person, "privacy_officer"), "--yes"
        )
        assert done.exit_code == 0 and "Reviewed: justified." in done.output, done.output
        again = await desk.run(
            approve_app, agency, "review", request_id, *desk.order(person, "privacy_officer"), "--yes"
        )
        assert again.exit_code == 1 and "waits for a review" in again.output
    await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    await desk.world.deliver()
    listed = await desk.run(request_app, POLICE, "list", "--json")
    assert [entry["state"] for entry in json.loads(listed.output)] == ["released", "released"]


async def test_withdraw_correct_and_recall(desk: Desk) -> None:
    await desk.run(request_app, POLICE, *ASK, "--tier", "2", *desk.key("police.investigator"))
    (first,) = json.loads((await desk.run(request_app, POLICE, "list", "--json")).output)
    own = desk.order("police.investigator", "investigator")
    done = await desk.run(request_app, POLICE, "withdraw", first["request"], *own)
    assert "Withdrawn: care is told." in done.output, done.output
    desk.world.clock.advance(minutes=1)
    await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    await desk.world.deliver()
    newest = json.loads((await desk.run(request_app, POLICE, "list", "--json")).output)[0]
    assert newest["state"] == "released"
    desk.world.clock.advance(minutes=1)
    privacy = desk.order("care.privacy", "privacy_officer")
    corrected = await desk.run(approve_app, CARE, "correct", newest["request"], *privacy)
    assert "police gets it anew" in corrected.output, corrected.output
    await desk.world.deliver()
    recalled = await desk.run(approve_app, CARE, "recall", newest["request"], "--why", "false_link", *privacy)
    assert "Taken back" in recalled.output, recalled.output
    await desk.world.deliver()
    listed = await desk.run(request_app, POLICE, "list", "--json")
    assert [item["state"] for item in json.loads(listed.output)] == ["recalled", "withdrawn"]


async def test_about_and_erase(desk: Desk) -> None:
    await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    await desk.world.deliver()
    about = await desk.run(audit_app, CARE, "about", SUSAN_AT_CARE, *desk.look(CARE))
    assert "police.investigator  police" in about.output and "under clauses 1, 2" in about.output
    assert "could telling prejudice an inquiry?" in about.output
    told = await desk.run(audit_app, CARE, "about", SUSAN_AT_CARE, "--for-subject", *desk.look(CARE))
    assert told.exit_code == 0 and told.output.strip() == ""
    looked = await desk.run(audit_app, CARE, "about", SUSAN_AT_CARE, "--json", *desk.look(CARE))
    (entry,) = [item for item in json.loads(looked.output) if item["action"] != "consulted"]
    told = await desk.run(
        audit_app,
        CARE,
        "about",
        SUSAN_AT_CARE,
        "--for-subject",
        "--disclose",
        str(entry["entry"]),
        *desk.look(CARE),
    )
    assert "disclosure released  police" in told.output and "investigator" not in told.output
    privacy = desk.order("care.privacy", "privacy_officer")
    erased = await desk.run(audit_app, CARE, "erase", SUSAN_AT_CARE, *privacy)
    assert "can never be read again" in erased.output, erased.output
    await desk.world.deliver()
    folder = desk.folder / "erased"
    await desk.run(audit_app, CARE, "export", str(folder), *desk.look(CARE))
    report = json.loads(CliRunner().invoke(audit_app, ["verify", str(folder), "--json"]).output)
    assert [item["kind"] for item in report["findings"]] in ([], ["time-went-back"])


async def test_conflicts_and_the_supervisors_queue(desk: Desk) -> None:
    own = desk.order("police.investigator", "investigator")
    declared = await desk.run(
        supervise_app, POLICE, "declare", "police.investigator", "--subject", SUSAN_AT_POLICE, *own
    )
    assert "on the list" in declared.output, declared.output
    refused = await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    assert refused.exit_code == 1 and "TS6008" in refused.output
    listed = await desk.run(supervise_app, POLICE, "conflicts")
    assert f"police.investigator  {SUSAN_AT_POLICE}" in listed.output
    (item,) = json.loads((await desk.run(supervise_app, POLICE, "queue", "--json")).output)
    assert item["kind"] == "conflict-of-interest"
    privacy = desk.order("police.privacy", "privacy_officer")
    signed = await desk.run(supervise_app, POLICE, "sign-off", item["item"], *privacy)
    assert "Signed off" in signed.output, signed.output
    lifted = await desk.run(
        supervise_app, POLICE, "lift", "police.investigator", "--subject", SUSAN_AT_POLICE, *privacy
    )
    assert "off the list" in lifted.output, lifted.output
    assert "0 to sign off" in (await desk.run(supervise_app, POLICE, "queue")).output


async def test_who_looked_is_told_to_who_asks(desk: Desk) -> None:
    await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    own = desk.order("police.investigator", "investigator")
    await desk.run(request_app, POLICE, "picture", SUSAN_AT_POLICE, *own)
    report = await desk.run(audit_app, POLICE, "about", SUSAN_AT_POLICE, *desk.look(POLICE))
    assert "consulted  police.investigator" in report.output, report.output
    assert "saw: all that is held and was received, as investigator" in report.output
    assert (
        "saw: who saw what, as privacy officer" in report.output and "reason: It is right." in report.output
    )
    refused = await desk.run(audit_app, POLICE, "about", SUSAN_AT_POLICE, *own)
    assert refused.exit_code == 1 and "may not order this" in refused.output
