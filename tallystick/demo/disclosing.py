"""The demonstration's disclosures: a MARAC coordinator asks, officers approve, nodes release or withhold."""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agency_node.disclosure.approving import Said, agreed
from agency_node.disclosure.asking import agreed_request
from agency_node.disclosure.ordering import agreed_order
from agency_node.disclosure.page import Acting, signed
from agency_node.rpc.control_client import ControlClient
from agency_node.rpc.ports import OrderDraft, PictureItem, PreparedDocument, RequestDetail, RequestDraft
from policies.vocabulary import OfficerRole, Purpose
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.terminal import TerminalError
from tallystick.demo.linking import Clients
from tallystick.demo.officers import DemoOfficer
from tallystick.demo.stage import FEDERATION
from tallystick.population import NORTHMOOR_CARE, STORY, SUSAN
from tallystick.population.model import AgencyId

#: Social care coordinates the conference, so it asks.
ASKING = NORTHMOOR_CARE
CASE = "MARAC-2026-114"
_NECESSITY = (
    "Repeated incidents in two force areas, a refuge stay and now a fire at her old address: the conference "
    "must see the whole history to plan for her safety."
)
_ANSWER_SECONDS = 60.0
_PLACE_COLUMN = "address_id"
_ENDED = frozenset({"released", "refused", "expired", "undeliverable", "recalled", "purged"})


class DisclosureError(TerminalError):
    """A disclosure of the demonstration did not come to its end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what became of it."""

    agency: str
    tier: int
    detail: RequestDetail
    #: The holder's own view, which the asking agency does not get: it names what was withheld.
    held: RequestDetail


@dataclass(frozen=True, slots=True)
class Viewer:
    """An officer who looks, and in which role."""

    officer: DemoOfficer
    role: OfficerRole


@dataclass(frozen=True, slots=True)
class Link:
    """A link of one of the asking agency's subjects."""

    token: str
    linkage: str
    counterpart: str
    strength: str


async def links_of(client: ControlClient, subject_id: str) -> tuple[Link, ...]:
    """What the agency was told about one of its subjects, in any linkage."""
    return tuple(
        [
            Link(link.token, link.linkage_id, link.counterpart, link.strength)
            async for link in client.links("", subject_id)
        ]
    )


def susan_at(agency: str) -> str:
    """The agency's own number for Susan."""
    return STORY.subjects[SUSAN][AgencyId(agency)]


def places_of_susan(data: Path) -> tuple[str, ...]:
    """The asking agency's own numbers of the addresses at which its data says that she lived."""
    susan = susan_at(ASKING)
    found = set()
    for path in sorted(data.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if susan in row.values() and row.get(_PLACE_COLUMN):
                    found.add(row[_PLACE_COLUMN])
    return tuple(sorted(found))


async def ask(
    clients: Clients, officers: Mapping[str, Mapping[str, DemoOfficer]], link: Link, tier: int
) -> Asked:
    """Asks under one link at one tier, has it approved where it must be, and waits for the answer.

    Raises:
        DisclosureError: no answer came. RefusedError: the request was refused here already.
    """
    client = clients[ASKING]
    officer = officers[ASKING]["caseworker"]
    draft = RequestDraft(
        link_token=link.token,
        purpose=Purpose.DOMESTIC_ABUSE_RISK.value,
        tier=tier,
        necessity=_NECESSITY,
        case_reference=CASE,
        urgency="urgent",
        record_types=(),
        fields=(),
        officer=officer.person,
        role=OfficerRole.MARAC_COORDINATOR.value,
    )
    request = agreed_request(await _prepared(client, draft), draft, _acting(officer))
    request_id = await client.submit_request(signed(request, officer.key))
    approver = officers[link.counterpart]["approver"]
    deadline = time.monotonic() + _ANSWER_SECONDS
    while (await client.request_summary(request_id)).state not in _ENDED:
        await _approve_if_waiting(clients[link.counterpart], request_id, approver)
        if time.monotonic() > deadline:
            raise DisclosureError(f"{link.counterpart} did not answer in {_ANSWER_SECONDS:.0f} s")
        await asyncio.sleep(0.1)
    coordinator = Viewer(officer, OfficerRole.MARAC_COORDINATOR)
    detail = await client.request(request_id, await _order(client, coordinator, "see-request", request_id))
    holder, theirs = clients[link.counterpart], Viewer(approver, OfficerRole.APPROVER)
    held = await holder.request(request_id, await _order(holder, theirs, "see-request", request_id))
    return Asked(link.counterpart, tier, detail, held)


async def _order(client: ControlClient, viewer: Viewer, act: str, target: str) -> bytes:
    """A signed order to see something, for the conference."""
    officer = viewer.officer
    draft = OrderDraft(act, target, "", f"For {CASE}.", officer.person, viewer.role.value)
    order = agreed_order(await client.prepare_order(draft), draft, _acting(officer))
    return signed(order, officer.key)


async def _prepared(client: ControlClient, draft: RequestDraft) -> PreparedDocument:
    """The request to sign; waits for the provider's status of the policy if that is still on its way."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            return await client.prepare_request(draft)
        except RefusedError as refusal:
            if refusal.code is not ErrorCode.POLICY_NOT_ACTIVE or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.5)


async def _approve_if_waiting(client: ControlClient, request_id: str, approver: DemoOfficer) -> None:
    async for summary in client.requests("received"):
        if summary.request_id == request_id and summary.state == "waiting":
            said = Said(
                request_id,
                "approve",
                "Necessary for the conference's safety plan.",
                approver.person,
                OfficerRole.APPROVER.value,
            )
            prepared = await client.prepare_approval(
                said.request_id, said.decision, said.reason, said.officer, said.role
            )
            _, approval = agreed(prepared, said, _acting(approver))
            await client.submit_approval(signed(approval, approver.key))


def _acting(officer: DemoOfficer) -> Acting:
    return Acting(FEDERATION, officer.organisation)


async def picture(client: ControlClient, viewer: Viewer, subject_id: str) -> tuple[PictureItem, ...]:
    """The single picture of a subject, oldest first, as an officer sees it."""
    order = await _order(client, viewer, "see-picture", subject_id)
    return tuple([item async for item in client.picture(order)])


async def export_audits(
    clients: Clients, officers: Mapping[str, Mapping[str, DemoOfficer]], folder: Path
) -> Mapping[str, Path]:
    """Writes every node's audit log to a folder of its own, for its privacy officer."""

    async def one(agency: str, client: ControlClient) -> None:
        viewer = Viewer(officers[agency]["privacy"], OfficerRole.PRIVACY_OFFICER)
        order = await _order(client, viewer, "export-audit", "own")
        async for name, chunk in client.export_audit(order):
            path = folder / agency / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(chunk)

    await asyncio.gather(*(one(agency, client) for agency, client in clients.items()))
    return {agency: folder / agency for agency in clients}
