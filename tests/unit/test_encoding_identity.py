"""Identity evidence: agreement field by field, over all identities, bound to one request."""

from agency_node.encoding.identity import EVIDENCE_FIELDS, agreeing_fields, identity_evidence
from agency_node.subjects import Identity

KEY = bytes(range(32))
SUSAN = Identity(
    {
        "given_names": "SUSAN",
        "family_name": "OBRIEN",
        "date_of_birth": "1980-03-14",
        "postcode": "LS11AA",
        "nhs_number": "9434765919",
        "sex": "F",
    }
)
FORMER = Identity({"family_name": "SMITH", "postcode": "YO17HH", "given_names": ""})


def test_evidence_covers_the_fields_that_are_there() -> None:
    evidence = identity_evidence(SUSAN, KEY, "r1")
    assert set(evidence) == set(EVIDENCE_FIELDS)
    assert all(len(proof) == 32 for proof in evidence.values())
    assert set(identity_evidence(FORMER, KEY, "r1")) == {"family_name", "postcode"}


def test_agreement_is_counted_over_all_identities() -> None:
    asked = Identity({"family_name": "SMITH", "date_of_birth": "1980-03-14", "postcode": "LS11AA"})
    evidence = identity_evidence(asked, KEY, "r1")
    assert agreeing_fields(evidence, [SUSAN], KEY, "r1") == {"date_of_birth", "postcode"}
    assert agreeing_fields(evidence, [SUSAN, FORMER], KEY, "r1") == {
        "family_name",
        "date_of_birth",
        "postcode",
    }
    assert agreeing_fields(evidence, [], KEY, "r1") == frozenset()


def test_a_swapped_day_and_a_second_name_do_not_hide_the_same_person() -> None:
    asked = Identity({"given_names": "SUSAN MARGARET", "date_of_birth": "1986-04-07"})
    swapped = Identity({"given_names": "SUSAN", "date_of_birth": "1986-07-04"})
    other_year = Identity({"given_names": "SUZANNE", "date_of_birth": "1987-04-07"})
    evidence = identity_evidence(asked, KEY, "r1")
    assert agreeing_fields(evidence, [swapped], KEY, "r1") == {"given_names", "date_of_birth"}
    assert agreeing_fields(evidence, [other_year], KEY, "r1") == frozenset()


def test_evidence_is_bound_to_request_key_and_field() -> None:
    evidence = identity_evidence(SUSAN, KEY, "r1")
    assert not agreeing_fields(evidence, [SUSAN], KEY, "r2")
    assert not agreeing_fields(evidence, [SUSAN], bytes(32), "r1")
    same_name_twice = Identity({"given_names": "LEE", "family_name": "LEE"})
    twice = identity_evidence(same_name_twice, KEY, "r1")
    assert twice["given_names"] != twice["family_name"]


def test_evidence_for_other_fields_counts_for_nothing() -> None:
    evidence = {**identity_evidence(SUSAN, KEY, "r1"), "sex": bytes(32), "shoe_size": bytes(32)}
    assert agreeing_fields(evidence, [SUSAN], KEY, "r1") == set(EVIDENCE_FIELDS)
