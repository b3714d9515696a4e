"""The page that an officer reads before signing, in plain English; statements carry its hash.

`plain-english/v1`: deterministic UTF-8 text with line feeds, made from the signed document alone, with
everything that is in it. Words that a drafter wrote are quoted with `>`, so that they cannot imitate the
page's own words.
"""

from collections.abc import Iterator

from crypto.canonical import sha256_hex
from policies.agreement import LinkageAgreement
from policies.clauses import NO_APPROVALS, Alarms, Clause
from policies.codec import document_hash
from policies.ids import Hash256
from policies.parties import Party
from policies.sharing import SharingPolicy
from policies.vocabulary import TIER_NAMES, Effect
from policies.wording import (
    CONTROLLER_TITLES,
    PURPOSE_TITLES,
    REGIME_TITLES,
    counted,
    day,
    joined,
    plain,
    plains,
    quoted,
)

PAGE_FORMAT = "plain-english/v1"


def page_hash(page: str) -> Hash256:
    """SHA-256 (hex) of the page's UTF-8 bytes."""
    return Hash256(sha256_hex(page.encode()))


def render_policy(policy: SharingPolicy) -> str:
    """The page of a sharing policy."""
    return "\n".join(_policy_lines(policy)) + "\n"


def render_agreement(agreement: LinkageAgreement) -> str:
    """The page of a linkage agreement."""
    return "\n".join(_agreement_lines(agreement)) + "\n"


def _policy_lines(policy: SharingPolicy) -> Iterator[str]:
    yield f"SHARING POLICY: {policy.title}"
    yield f"{policy.id}, version {policy.version}, federation {policy.federation} ({PAGE_FORMAT})"
    yield f"Document hash {document_hash(policy)}"
    if policy.supersedes:
        yield f"Replaces the version with hash {policy.supersedes}"
    yield quoted(policy.summary)
    yield f"In force from {day(policy.not_before)} to {day(policy.not_after)}."
    yield f"To be reviewed by {day(policy.review_by)}."
    yield f"Status is published at {policy.status_url}."
    yield f"It applies to the linkage {joined(policy.linkages)}."
    yield f"Purposes: {joined(PURPOSE_TITLES[item] for item in policy.purposes)}."
    yield "\nPARTIES"
    for party in policy.parties:
        yield from _party_lines(party)
    yield from _governance_lines(policy)
    yield "\nCLAUSES"
    yield "What no clause releases stays where it is. A clause that withholds goes before any that releases."
    yield "Safe addresses and refuges are never released, whatever a clause says."
    for clause in policy.clauses:
        yield from _clause_lines(clause)
    yield from _obligation_lines(policy)


def _party_lines(party: Party) -> Iterator[str]:
    basis = party.lawful_basis
    yield f"- {party.name} ({party.agency}): {plains(party.capacities)};"
    yield f"  {CONTROLLER_TITLES[party.controller]}; ICO registration {party.ico_number};"
    yield f"  {REGIME_TITLES[party.regime]}."
    if party.name_withheld:
        yield "  Nobody is told that it is this agency that holds a link."
    if party.health_or_care_data:
        yield "  What it provides includes health or care data."
    named = (
        ("Article 6 basis", basis.article6),
        ("Article 9 condition", basis.article9),
        ("Article 10 condition", basis.article10),
        ("Schedule 1", basis.schedule1_paragraph),
        ("Part 3 basis", basis.part3),
        ("Schedule 8", basis.schedule8_paragraph),
    )
    yield (
        "  Lawful basis: "
        + ("; ".join(f"{name} {value}" for name, value in named if value) or "NONE STATED")
        + "."
    )
    yield f"  Powers: {joined(basis.gateways)}."
    yield "  Confidentiality:\n" + quoted(basis.confidentiality)
    yield "  Necessity and proportionality:\n" + quoted(basis.necessity)


def _governance_lines(policy: SharingPolicy) -> Iterator[str]:
    governance = policy.governance
    yield "\nGOVERNANCE"
    if governance.dpia is None:
        yield "NO DATA PROTECTION IMPACT ASSESSMENT IS NAMED."
    else:
        dpia = governance.dpia
        yield f"Impact assessment {dpia.reference} of {dpia.completed.isoformat()}, hash {dpia.hash}."
    yield f"Special-category data: {_yes(governance.special_category_data)}."
    yield f"Criminal-offence data: {_yes(governance.criminal_offence_data)}."
    for advice in governance.dpo_advice:
        yield f"Advice of the DPO of {advice.agency}, {advice.given.isoformat()}:\n" + quoted(advice.advice)
    yield f"People use their rights by writing to {governance.rights_contact}."
    yield "How people are told:\n" + quoted(governance.transparency)


def _clause_lines(clause: Clause) -> Iterator[str]:
    release = clause.effect is Effect.RELEASE
    verb = "RELEASE" if release else "WITHHOLD"
    yield f"\nClause {clause.number}: {verb}, tier {clause.tier} ({TIER_NAMES[clause.tier]}) and above"
    yield quoted(clause.plain_english)
    yield f"  What: {_any(clause.fields, 'any field')} of {_any(clause.record_types, 'any record')}."
    yield f"  From: {_any(clause.providers, 'any provider')}. To: {_any(clause.recipients, 'any recipient')}."
    yield f"  Officers acting as: {_any(clause.officer_roles, 'any role')}."
    purposes = (
        joined((PURPOSE_TITLES[item] for item in clause.purposes), "or") if clause.purposes else "any purpose"
    )
    yield f"  For: {purposes}."
    for condition in _condition_lines(clause):
        yield f"  Only if {condition}."
    if clause.approvals != NO_APPROVALS:
        provider = clause.approvals.from_provider
        among = f", at least {provider} of them from the provider" if provider else ""
        yield f"  Needs {counted(clause.approvals.count, 'approval')} by other officers{among}."
    elif release:
        yield "  Automatic: nobody is asked first."
    if clause.push:
        yield "  May be sent without being asked for."


def _condition_lines(clause: Clause) -> Iterator[str]:
    conditions = clause.conditions
    if conditions.minimum_strength is not None:
        yield f"the link is at least {conditions.minimum_strength.value}"
    if conditions.consent is not None:
        yield f"consent is {plains(conditions.consent, 'or')}"
    if conditions.max_record_age_days is not None:
        yield f"the record is known to be at most {counted(conditions.max_record_age_days, 'day')} old"
    if conditions.older_than_days is not None:
        yield f"the record is older than {counted(conditions.older_than_days, 'day')}, or its age is unknown"
    if conditions.markers is not None:
        yield f"the record or field is marked {plains(conditions.markers, 'or')}"


def _obligation_lines(policy: SharingPolicy) -> Iterator[str]:
    duties, limits, emergency = policy.obligations, policy.safeguards, policy.emergency
    yield "\nOBLIGATIONS OF EVERY RECIPIENT"
    yield f"Erase what was received after {counted(duties.retention_days, 'day')}."
    yield f"Send a signed receipt of the erasure: {_yes(duties.erasure_receipt)}."
    if duties.onward_sharing:
        yield f"Pass on to: {joined(duties.onward_sharing)}. NODES REFUSE THIS, AND RELEASE NOTHING."
    else:
        yield "Pass on to: nobody."
    yield f"Mark as: {duties.handling_marking}"
    yield "Warning about contact with the person:\n" + quoted(duties.victim_contact_warning)
    yield "\nSAFEGUARDS AGAINST MISUSE"
    yield f"At most {counted(limits.requests_per_officer_per_day, 'request')} a day by one officer,"
    yield f"and {counted(limits.requests_per_purpose_per_day, 'request')} a day by one agency for a purpose."
    yield f"A case reference is required: {_yes(limits.case_reference_required)}."
    yield f"A supervisor looks at {limits.review_sample_percent}% of automatic releases afterwards,"
    yield from _alarm_lines(limits.alarms)
    yield "\nEMERGENCIES (BREAK-GLASS)"
    if emergency is None:
        yield "None: approvals can never be waived."
        return
    yield f"{plains(emergency.officer_roles, 'or')} may do without approvals up to tier {emergency.max_tier},"
    yield f"for: {joined(emergency.reason_codes, 'or')}."
    yield (
        f"Every use is reviewed by {plains(emergency.reviewer_roles, 'or')} "
        f"within {counted(emergency.review_hours, 'hour')}."
    )
    yield "It opens nothing that a clause withholds, no safe address, and no policy that is not in force."


def _alarm_lines(alarms: Alarms) -> Iterator[str]:
    yield "and at what is unusual, which stops nothing:"
    yield f"- more than {counted(alarms.requests_per_hour, 'request')} by one officer within an hour;"
    yield f"- more than {counted(alarms.requests_per_day, 'request')} by one officer in a day,"
    yield f"  if that is more than {counted(alarms.times_usual, 'time')} the daily mean of four weeks;"
    yield f"- {counted(alarms.officers_per_subject, 'officer')} or more who ask about one subject in a week;"
    yield f"- {counted(alarms.subjects_per_case, 'subject')} or more under one officer's case in four weeks."


def _agreement_lines(agreement: LinkageAgreement) -> Iterator[str]:
    encoding, matching = agreement.encoding, agreement.matching
    yield f"LINKAGE AGREEMENT: {agreement.title}"
    yield f"{agreement.id}, version {agreement.version}, federation {agreement.federation} ({PAGE_FORMAT})"
    yield f"Document hash {document_hash(agreement)}"
    if agreement.supersedes:
        yield f"Replaces the version with hash {agreement.supersedes}"
    yield quoted(agreement.purpose)
    yield f"In force from {day(agreement.not_before)} to {day(agreement.not_after)}."
    yield f"It links records about the same {agreement.subject_type.value}."
    yield f"The linkage key is replaced every {counted(agreement.epoch_days, 'day')}."
    yield "\nPARTICIPANTS"
    for participant in agreement.participants:
        yield f"- {participant.agency}: at most {counted(participant.declared_population, 'subject')}"
    yield "\nENCODING"
    yield f"Encoding hash {agreement.schema_hash}."
    yield f"A subject needs {counted(encoding.minimum_fields, 'known field')}."
    for projection in encoding.projections:
        hardening, bands = projection.hardening, matching.projections[projection.name]
        taps = f" with {counted(hardening.taps, 'tap')}" if hardening.taps else ""
        yield f"- Projection {projection.name}: {hardening.kind.value}{taps};"
        yield f"  possible from {bands.threshold}, probable from {bands.probable},"
        yield f"  strong from {bands.strong}."
    for token in encoding.exact_tokens:
        yield f"- Exact token {token.name} over {plains(token.fields)}."
    one = "one subject" if matching.mode == "one-to-one" else "any number of subjects"
    yield f"A subject may be linked to {one} of each other participant."
    yield "\nPRIVACY"
    if agreement.privacy_report_hash is None:
        yield "NO PRIVACY REPORT IS NAMED."
    else:
        yield f"Privacy report, hash {agreement.privacy_report_hash}."
    for exception in agreement.exceptions:
        about = f" for projection {exception.projection}" if exception.projection else ""
        yield f"EXCEPTION: {plain(exception.kind).replace('-', ' ')}{about}, because"
        yield quoted(exception.reason)


def _any(values: tuple[str, ...], otherwise: str) -> str:
    return plains(values) if values else otherwise


def _yes(value: bool) -> str:
    return "yes" if value else "no"
