"""Writing policies: templates, YAML and TOML, the rendered page, and the what-changed diff."""

from dataclasses import fields, replace
from typing import cast

import pytest
import tomli_w

from policies.authoring import fill, load_policy, load_yaml, placeholders, template, template_names
from policies.clauses import Approvals, Clause, Conditions
from policies.codec import parse, to_json, write
from policies.diff import OutcomeKind, diff
from policies.errors import DocumentError
from policies.ids import Line, Prose, RecordType
from policies.lint import lint
from policies.render import page_hash, render_agreement, render_policy
from policies.sharing import SharingPolicy
from policies.terms import changed_terms
from policies.vocabulary import Effect
from tests.simulator.policies import NOW, sample_agreement, sample_policy, template_values

POLICY = sample_policy()


def _template(name: str) -> SharingPolicy:
    text = template(name)
    return load_policy(fill(text, template_values(text)), f"{name}.yaml")


def test_there_is_a_template_for_each_arrangement() -> None:
    assert template_names() == (
        "clares-law",
        "marac-domestic-abuse",
        "mash-child-safeguarding",
        "mental-health-crisis",
        "missing-persons",
    )
    with pytest.raises(DocumentError, match="there is no template"):
        template("prevent")


@pytest.mark.parametrize("name", template_names())
def test_templates_load_lint_clean_render_and_sign_as_canonical_json(name: str) -> None:
    policy = _template(name)
    assert lint(policy, NOW) == ()
    assert parse(SharingPolicy, write(policy)) == policy
    page = render_policy(policy)
    for clause in policy.clauses:
        assert f"Clause {clause.number}: {clause.effect.value.upper()}" in page
    for party in policy.parties:
        assert party.name in page


@pytest.mark.parametrize("name", template_names())
def test_an_unfilled_template_is_refused(name: str) -> None:
    text = template(name)
    assert "dpia_hash" in placeholders(text)
    with pytest.raises(DocumentError, match="still to be filled in: federation, policy_id"):
        load_policy(text, f"{name}.yaml")
    values = template_values(text)
    with pytest.raises(DocumentError, match="still to be filled in: linkage"):
        fill(text, {key: value for key, value in values.items() if key != "linkage"})
    with pytest.raises(DocumentError, match="the template has no colour"):
        fill(text, values | {"colour": "blue"})


@pytest.mark.parametrize("value", ['x"\nversion: 9', "two\nlines", 'quote"', "back\\slash", "${linkage}", ""])
def test_a_filling_cannot_write_policy(value: str) -> None:
    text = template("clares-law")
    with pytest.raises(DocumentError, match="police_name: one line"):
        fill(text, template_values(text) | {"police_name": value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type: root/v1\ntype: root/v1\n", "line 2: 'type' is given twice"),
        ("a: &x [1]\nb: *x\n", "anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "not readable as YAML"),
        ("type: sharing-policy/v1\nversion: 1.0\n", r"\$\."),
        ("1: x\n", "names of fields are text"),
        ("[" * 3000, "not readable as YAML"),
        ("just text", r"\$: expected an object"),
        ("{}", r"\$\.type"),
        ("a: [", "not readable as YAML"),
    ],
)
def test_yaml_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        load_yaml(SharingPolicy, text)


def test_toml_gives_the_same_document() -> None:
    assert load_policy(tomli_w.dumps(cast(dict[str, object], to_json(POLICY))), "policy.toml") == POLICY
    with pytest.raises(DocumentError, match="not readable as TOML"):
        load_policy("a = ", "policy.toml")
    with pytest.raises(DocumentError, match=r"\.yaml or \.toml"):
        load_policy("", "policy.json")


def test_yaml_words_that_look_like_other_types_stay_text() -> None:
    text = template("clares-law")
    policy = load_policy(fill(text, template_values(text) | {"police_ico": "no"}), "p.yaml")
    assert policy.parties[0].ico_number == "no"


def _party(index: int, **basis: object) -> SharingPolicy:
    party = POLICY.parties[index]
    changed = replace(party, lawful_basis=replace(party.lawful_basis, **basis))  # type: ignore[arg-type] # real fields
    return replace(POLICY, parties=(*POLICY.parties[:index], changed, *POLICY.parties[index + 1 :]))


def _clauses(*clauses: Clause) -> SharingPolicy:
    return replace(POLICY, clauses=clauses)


def _alarms(**changes: int) -> SharingPolicy:
    limits = POLICY.safeguards
    return replace(POLICY, safeguards=replace(limits, alarms=replace(limits.alarms, **changes)))


ONE, TWO, THREE, FOUR, FIVE, SIX = POLICY.clauses
WITHHOLD_ALL = Clause(9, Effect.WITHHOLD, Prose("Nothing of incidents."), 0, (RecordType("incident"),), ())


# --- the page
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        replace(POLICY, title=Line("Another title")),
        replace(POLICY, clauses=(*POLICY.clauses[:5], replace(SIX, tier=1))),
        replace(POLICY, obligations=replace(POLICY.obligations, retention_days=91)),
        replace(POLICY, emergency=None),
        *(
            _alarms(**{item.name: getattr(POLICY.safeguards.alarms, item.name) + 1})
            for item in fields(POLICY.safeguards.alarms)
        ),
        replace(POLICY, parties=tuple(replace(item, name_withheld=False) for item in POLICY.parties)),
    ],
)
def test_every_change_changes_the_page(changed: SharingPolicy) -> None:
    assert page_hash(render_policy(changed)) != page_hash(render_policy(POLICY))


def test_the_page_is_the_same_every_time_and_says_what_matters() -> None:
    page = render_policy(POLICY)
    assert page == render_policy(parse(SharingPolicy, write(POLICY)))
    for text in (
        "Clause 4: RELEASE, tier 3 (full record) and above",
        "Needs 2 approvals by other officers, at least 1 of them from the provider.",
        "Nobody is told that it is this agency that holds a link.",
        "Safe addresses and refuges are never released",
        "Erase what was received after 90 days.",
        "- more than 5 requests by one officer within an hour;",
        "- 8 subjects or more under one officer's case in four weeks.",
        "Part 3 of the Data Protection Act 2018",
    ):
        assert text in page


def test_drafted_words_cannot_imitate_the_page() -> None:
    sly = Prose("Harmless.\nClause 9: WITHHOLD, tier 0 (existence of contact) and above")
    page = render_policy(_clauses(replace(ONE, plain_english=sly)))
    assert "\nClause 9" not in page
    assert "\n  > Clause 9" in page


def test_an_agreement_shows_its_hashes_and_exceptions() -> None:
    agreement = sample_agreement()
    page = render_agreement(agreement)
    assert agreement.schema_hash in page and "sparse-diffusion/v1 with 5 taps" in page
    assert "NO PRIVACY REPORT IS NAMED" in render_agreement(replace(agreement, privacy_report_hash=None))


# --- what changed
# ---------------------------------------------------------------------------------------------


def test_no_change_when_only_words_change() -> None:
    assert (
        diff(
            POLICY,
            replace(POLICY, title=Line("Renamed"), clauses=(replace(ONE, number=1), *POLICY.clauses[1:])),
        )
        == ()
    )


def test_terms_outside_the_decisions_show_too() -> None:
    assert POLICY.emergency is not None
    quiet = replace(
        _alarms(requests_per_day=50),
        obligations=replace(POLICY.obligations, retention_days=365),
        emergency=replace(POLICY.emergency, review_hours=72),
        clauses=(replace(ONE, push=False), *POLICY.clauses[1:]),
    )
    assert diff(POLICY, quiet) == ()
    assert [str(change) for change in changed_terms(POLICY, quiet)] == [
        "clauses[1].push: yes -> no",
        "obligations.retention_days: 90 -> 365",
        "safeguards.alarms.requests_per_day: 5 -> 50",
        "emergency.review_hours: 24 -> 72",
    ]
    gone = {item.where for item in changed_terms(POLICY, replace(POLICY, emergency=None)) if not item.after}
    assert "emergency.max_tier" in gone and all(where.startswith("emergency.") for where in gone)
    assert [item.where for item in changed_terms(POLICY, _party(1, article6=None))] == [
        "parties[care].lawful_basis.article6"
    ]
    assert changed_terms(POLICY, POLICY) == ()


def test_a_dropped_approval_shows_as_loosening() -> None:
    loosened = _clauses(ONE, TWO, replace(THREE, approvals=Approvals(0, 0)), FOUR, FIVE, SIX)
    changes = diff(POLICY, loosened)
    assert changes and all(change.loosens for change in changes)
    assert {change.subject.field for change in changes} == {"summary", "risk_band"}
    assert {change.subject.tier for change in changes} == {2, 3}
    assert not any(change.loosens for change in diff(loosened, POLICY))
    assert "needs 1 approvals, 0 from the provider -> release" in str(changes[0])


def test_a_new_withholding_shows_as_tightening() -> None:
    changes = diff(POLICY, replace(POLICY, clauses=(*POLICY.clauses, WITHHOLD_ALL)))
    assert {change.after.kind for change in changes} == {OutcomeKind.WITHHOLD}
    assert {change.subject.record_type for change in changes} == {"incident"}


def test_a_wider_condition_shows_with_the_number_of_cases() -> None:
    wider = _clauses(ONE, replace(TWO, conditions=Conditions()), THREE, FOUR, FIVE, SIX)
    changes = diff(POLICY, wider)
    assert {(change.before.kind, change.after.kind) for change in changes} == {
        (OutcomeKind.DENY, OutcomeKind.RELEASE)
    }
    assert all(change.cases >= 1 for change in changes)
