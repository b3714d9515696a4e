"""The commands of `tallystick policy`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from crypto.signers import load_signer
from policies.access import Asker, FieldRequest
from policies.authoring import template as template_text
from policies.authoring import template_names
from policies.clauses import Approvals
from policies.codec import format_time
from policies.diff import diff as what_changed
from policies.evaluate import PolicyEvaluator
from policies.ids import AgencyId, Hash256, Marker, Prose
from policies.lifecycle import sign_event
from policies.lint import Severity
from policies.lint import lint as find_faults
from policies.replay import STOPPING
from policies.sharing import SharingPolicy
from policies.signing import sign_statement
from policies.statements import PolicyAction, PolicyEvent, SigningStatement
from policies.status import MAX_TIER
from policies.terms import changed_terms
from policies.verified import verify_agreement, verify_policy
from policies.vocabulary import Consent, Decision, OfficerRole, Purpose, Strength
from protos.wire.terminal import EXIT_REFUSED, TerminalError, ask_passphrase, own_words, say, stop_on_error
from tallystick.governance.files import open_file, open_policy, replace_file, write_new
from tallystick.governance.trust import trusted_registry

policy_app = typer.Typer(
    no_args_is_help=True, help="Sharing policies and linkage agreements: write, check, sign, suspend."
)

File = Annotated[Path, typer.Argument(help="A draft (.yaml, .toml) or a bundle (.json).")]
KeyUri = Annotated[str, typer.Option("--key", help="Your key, as keystore:FILE#NAME or pkcs11:...")]
Organisation = Annotated[str, typer.Option(help="The agency for which you sign.")]
Role = Annotated[OfficerRole, typer.Option(help="The role in which you sign; the registry must agree.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SignedPolicy = Annotated[Path, typer.Argument(help="The signed policy's bundle.")]
Why = Annotated[str, own_words("Why", "Why; it is signed and told to every party.")]
Sequence = Annotated[int, typer.Option(help="The state's number, as `tallystick node documents` shows it.")]
EventFile = Annotated[Path, typer.Option(help="Where to write the signed event; publish it with the node.")]

_TRUST_DIR = Path(typer.get_app_dir("tallystick")) / "trust"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@policy_app.command()
@stop_on_error
def template(
    name: Annotated[
        str | None, typer.Argument(help="Which template to print; without it, their names.")
    ] = None,
) -> None:
    """Lists the templates for common arrangements, or prints one to start from."""
    say("\n".join(template_names()) if name is None else template_text(name))


@policy_app.command()
@stop_on_error
def lint(file: File, as_json: AsJson = False) -> None:
    """Finds what you would be embarrassed by later. Exit code 1 if there is an error among the findings.

    docs/guides/ig-officer.md says what each code means.
    """
    findings = find_faults(open_policy(file), _now())
    if as_json:
        say(json.dumps([{"severity": f.severity, "code": f.code, "where": f.where, "message": f.message}
                        for f in findings], indent=2))  # fmt: skip
    else:
        for finding in findings:
            say(f"{finding.severity.upper()} {finding.where}: {finding.message} [{finding.code}]")
        say("Nothing found." if not findings else f"{len(findings)} findings.")
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(EXIT_REFUSED)


@policy_app.command()
@stop_on_error
def show(file: File) -> None:
    """Prints the document in plain English: the page whose hash officers sign."""
    opened = open_file(file)
    say(opened.page)
    say(f"Document hash: {opened.bundle.digest}")
    say(f"Page hash:     {opened.page_hash}")


@policy_app.command("diff")
@stop_on_error
def diff_command(
    old: Annotated[Path, typer.Argument(help="The version in force.")],
    new: Annotated[Path, typer.Argument(help="The version that would replace it.")],
    as_json: AsJson = False,
) -> None:
    """Shows which decisions change between two versions: not which words, but who learns more or less.

    After them come the terms that change: parties, dates, duties, limits, alarms, emergencies.
    """
    before, after = open_policy(old), open_policy(new)
    changes, terms = what_changed(before, after), changed_terms(before, after)
    if as_json:
        say(json.dumps({
            "decisions": [
                {"provider": c.subject.provider, "recipient": c.subject.recipient, "role": c.subject.role,
                 "purpose": c.subject.purpose, "record_type": c.subject.record_type, "field": c.subject.field,
                 "tier": c.subject.tier, "before": str(c.before), "after": str(c.after), "cases": c.cases}
                for c in changes],
            "terms": [{"where": t.where, "before": t.before, "after": t.after} for t in terms],
        }, indent=2))  # fmt: skip
        return
    for change in changes:
        subject = change.subject
        more = "MORE" if change.after.openness > change.before.openness else "less"
        say(
            f"{more}: {subject.provider} -> {subject.recipient} ({subject.role}, {subject.purpose}, "
            f"tier {subject.tier}) {subject.record_type}.{subject.field}: {change.before} -> {change.after}"
        )
    say("No decision changes." if not changes else f"{len(changes)} kinds of decision change.")
    for term in terms:
        say(f"term {term}")
    say("No term changes." if not terms else f"{len(terms)} terms change.")


@policy_app.command()
@stop_on_error
def simulate(
    file: File,
    provider: Annotated[str, typer.Option(help="The agency that holds the record.")],
    recipient: Annotated[str, typer.Option(help="The agency that asks.")],
    role: Annotated[OfficerRole, typer.Option(help="The asking officer's role.")],
    purpose: Annotated[Purpose, typer.Option(help="What for.")],
    tier: Annotated[int, typer.Option(min=0, max=MAX_TIER, help="0 existence to 3 full record.")],
    strength: Annotated[Strength, typer.Option(help="How strong the link is.")] = Strength.STRONG,
    consent: Annotated[Consent, typer.Option(help="What the record says of consent.")] = Consent.NOT_RECORDED,
    approvals: Annotated[int, typer.Option(min=0, help="Approvals in hand.")] = 0,
    from_provider: Annotated[int, typer.Option(min=0, help="How many of them from the provider.")] = 0,
    age_days: Annotated[int | None, typer.Option(help="How old the record is; unknown if left out.")] = None,
    marker: Annotated[list[str] | None, typer.Option(help="A marker of the record; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Says what would be released in one situation, field by field. Nothing is disclosed.

    As if the policy were signed and in force: no signature and no registry is looked at.
    """
    policy = open_policy(file)
    asker = Asker(
        provider=AgencyId(provider),
        recipient=AgencyId(recipient),
        role=role,
        purpose=purpose,
        tier=tier,
        strength=strength,
        consent=consent,
        approvals=Approvals(approvals, from_provider),
    )
    markers = frozenset(Marker(word) for word in marker or ())
    requests = _mentioned(policy, age_days, markers)
    decisions = PolicyEvaluator(policy).decide(asker, requests, ceiling=MAX_TIER)
    rows = [
        {"record_type": str(r.record_type), "field": str(r.field), "decision": str(d)}
        for r, d in zip(requests, decisions, strict=True)
    ]
    if as_json:
        say(json.dumps(rows, indent=2))
        return
    width = max(len(f"{row['record_type']}.{row['field']}") for row in rows)
    for row in rows:
        say(f"{row['record_type']}.{row['field']}".ljust(width) + f"  {row['decision']}")


def _mentioned(
    policy: SharingPolicy, age_days: int | None, markers: frozenset[Marker]
) -> tuple[FieldRequest, ...]:
    """Every record type and field that a release clause names together, once each."""
    pairs = {
        (record_type, field): None
        for clause in policy.releases
        for record_type in clause.record_types
        for field in clause.fields
    }
    return tuple(FieldRequest(record_type, field, age_days, markers) for record_type, field in sorted(pairs))


@policy_app.command()
@stop_on_error
def draft(
    file: Annotated[Path, typer.Argument(help="The draft that you wrote (.yaml, .toml).")],
    out: Annotated[Path, typer.Option(help="The bundle to write (.json); it then goes round for signing.")],
) -> None:
    """Turns a finished draft into a bundle for signing. Any later edit is a new bundle."""
    opened = open_file(file)
    write_new(out, opened.bundle.to_bytes())
    say(f"{out}: document hash {opened.bundle.digest}")


@policy_app.command()
@stop_on_error
def sign(
    bundle: Annotated[Path, typer.Argument(help="The bundle; your statement is added to it.")],
    key: KeyUri,
    organisation: Organisation,
    role: Role,
    reject: Annotated[bool, typer.Option("--reject", help="Say no instead of yes.")] = False,
    comment: Annotated[str | None, typer.Option(help="Why; it is signed with the rest.")] = None,
    expect: Annotated[
        str | None, typer.Option("--page-hash", help="The page hash that you read with `show`.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not show the page and ask again.")] = False,
) -> None:
    """Shows the page and signs a statement about it with your own key, in place of your earlier one.

    Whether the registry lists you in that role is not looked at: `verify` says whether a signature counts.
    """
    opened = open_file(bundle)
    if expect is not None and expect != opened.page_hash:
        raise TerminalError(f"{bundle} is not what you read: its page hash is {opened.page_hash}")
    if not yes:
        say(opened.page)
        word = "REJECT" if reject else "APPROVE"
        typer.confirm(f"{word} this, as {role} of {organisation}?", abort=True)
    statement = SigningStatement(
        document_hash=opened.bundle.digest,
        page_hash=Hash256(opened.page_hash),
        organisation=AgencyId(organisation),
        role=role,
        decision=Decision.REJECT if reject else Decision.APPROVE,
        signed_at=_now(),
        comment=None if comment is None else Prose(comment),
    )
    signer = load_signer(key, lambda: ask_passphrase(None, prompt="Passphrase of your key"))
    others = opened.bundle.without_key(signer.verify_key.key_id)
    signed = others.with_statement(sign_statement(statement, signer))
    replace_file(bundle, signed.to_bytes())
    say(f"{bundle}: {len(signed.statements)} statements. `tallystick policy verify` says what is missing.")


@policy_app.command()
@stop_on_error
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    registry: Annotated[Path, typer.Option(help="The federation registry that is in force.")],
    root: Annotated[
        list[Path], typer.Option(help="A root of the federation; name all of them, the first one first.")
    ],
    anchor: Annotated[
        str, typer.Option(help="The federation's anchor: the digest of its first root, told you out of band.")
    ],
    trust_dir: Annotated[
        Path,
        typer.Option(
            envvar="TALLYSTICK_TRUST_DIR",
            help="Where the roots and the registry that were accepted are kept: older ones are refused.",
        ),
    ] = _TRUST_DIR,
    as_json: AsJson = False,
) -> None:
    """Counts the signatures against the rules. Exit code 1 until every signature that is needed is there.

    The registry says who the officers are, so it is verified first: from the anchor over the roots to its own
    signatures. It may neither have expired nor be older than one that was accepted before.
    """
    now = _now()
    opened = open_file(bundle)
    listed = trusted_registry(registry, root, Hash256(anchor), trust_dir, now)
    verified = (
        verify_policy(opened.bundle, listed, now)
        if isinstance(opened.document, SharingPolicy)
        else verify_agreement(opened.bundle, listed, now)
    )
    quorum = verified.quorum
    if as_json:
        say(json.dumps({
            "met": quorum.met, "missing": quorum.missing, "refused": quorum.refused,
            "counted": [f"{s.person} ({s.organisation}, {s.role})" for s in quorum.counted],
            "rejected_by": [f"{s.person} ({s.organisation})" for s in quorum.rejected_by],
            "document_hash": verified.hash, "registry_version": listed.version}, indent=2))  # fmt: skip
    else:
        until = f"{listed.expires:%d %B %Y}"
        say(f"registry: version {listed.version} of {listed.federation}, signed, in force until {until}")
        for signatory in quorum.counted:
            say(f"signed:   {signatory.person} as {signatory.role} of {signatory.organisation}")
        for signatory in quorum.rejected_by:
            say(f"REJECTED: {signatory.person} of {signatory.organisation}")
        for line in quorum.missing:
            say(f"missing:  {line}")
        for line in quorum.refused:
            say(f"refused:  {line}")
        say("Every signature that is needed is there." if quorum.met else "Not in force.")
    if not quorum.met:
        raise typer.Exit(EXIT_REFUSED)


def _event(
    action: PolicyAction,
    bundle: Path,
    key: str,
    organisation: str,
    role: OfficerRole,
    reason: str,
    sequence: int,
    out: Path,
) -> None:
    """Signs an officer's act upon a policy, and writes it for the node to publish."""
    opened = open_file(bundle)
    if not isinstance(opened.document, SharingPolicy):
        raise TerminalError(f"{bundle}: only a sharing policy can be suspended, reactivated or revoked")
    event = PolicyEvent(
        policy=opened.document.id,
        document_hash=opened.bundle.digest,
        sequence=sequence,
        action=action,
        organisation=AgencyId(organisation),
        role=role,
        signed_at=_now(),
        reason=Prose(reason),
    )
    signer = load_signer(key, lambda: ask_passphrase(None, prompt="Passphrase of your key"))
    write_new(out, sign_event(event, signer).to_bytes())
    what = f"{action.value} of {opened.bundle.digest[:16]}"
    say(f"{out}: {what}. Publish it: `tallystick node publish-event {out}`.")
    if action in STOPPING and opened.document.version > 1:
        say(_of_predecessor(opened.document, event.signed_at))


def _of_predecessor(policy: SharingPolicy, now: datetime) -> str:
    """What stopping a version does to the one before it: nothing, but few expect that."""
    if now >= policy.not_before:
        return f"No earlier version comes back; to have one again, sign it as version {policy.version + 1}."
    begins = format_time(policy.not_before)
    return (
        f"The version before it still ends at {begins}, when this one would have begun, and does not return."
    )


@policy_app.command()
@stop_on_error
def suspend(
    bundle: SignedPolicy,
    key: KeyUri,
    organisation: Organisation,
    role: Role,
    reason: Why,
    sequence: Sequence,
    out: EventFile,
) -> None:
    """Stops a policy at once: one officer of any party is enough. It can be started again by all.

    An earlier version does not come back: it is over once this one's time has come, whatever becomes of it.
    """
    _event(PolicyAction.SUSPEND, bundle, key, organisation, role, reason, sequence, out)


@policy_app.command()
@stop_on_error
def reactivate(
    bundle: SignedPolicy,
    key: KeyUri,
    organisation: Organisation,
    role: Role,
    reason: Why,
    sequence: Sequence,
    out: EventFile,
) -> None:
    """Agrees to start a suspended policy again: every signature that it needed to begin with is needed."""
    _event(PolicyAction.REACTIVATE, bundle, key, organisation, role, reason, sequence, out)


@policy_app.command()
@stop_on_error
def revoke(
    bundle: SignedPolicy,
    key: KeyUri,
    organisation: Organisation,
    role: Role,
    reason: Why,
    sequence: Sequence,
    out: EventFile,
) -> None:
    """Ends a policy for good: one officer of any party is enough.

    An earlier version does not come back: it is over once this one's time has come, whatever becomes of it.
    """
    _event(PolicyAction.REVOKE, bundle, key, organisation, role, reason, sequence, out)


@policy_app.command()
@stop_on_error
def export(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
) -> None:
    """Writes the parts of a bundle as files: the document, the page in plain English, each statement."""
    opened = open_file(bundle)
    out.mkdir(parents=True)
    (out / "document.json").write_bytes(opened.bundle.document.payload)
    (out / "document.envelope.json").write_bytes(opened.bundle.document.to_bytes())
    (out / "page.txt").write_text(opened.page, "utf-8")
    for number, statement in enumerate(opened.bundle.statements, start=1):
        (out / f"statement.{number}.json").write_bytes(statement.to_bytes())
    say(f"{out}: {3 + len(opened.bundle.statements)} files")
