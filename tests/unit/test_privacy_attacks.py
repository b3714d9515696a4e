"""Every attack of the privacy report succeeds on plain encodings: only so does a zero mean something."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from importlib import import_module

import numpy as np
import pytest

from agency_node.encoding import EncodingSection, default_section
from crypto.canonical import JsonValue
from tallystick.privacy.cost import linkage_quality
from tallystick.privacy.encodings import Bits, Target, encode, made_up_keys, targets_of
from tallystick.privacy.grams import cuts_of, grams_of
from tallystick.privacy.graph import graph_matching_attack
from tallystick.privacy.key_holder import key_holder_attack, token_frequencies
from tallystick.privacy.known_pairs import known_pairs_attack
from tallystick.privacy.mining import pattern_mining_attack
from tallystick.privacy.people import Records, synthetic_records, synthetic_views
from tallystick.privacy.profile import bit_profile
from tallystick.privacy.proportion import Proportion

PEOPLE = 1_200
KEYS = made_up_keys(1, "agencies")


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_matrices() -> Iterator[None]:
    """Test workers fill the cores already; more threads for small matrices only get in each other's way."""
    with import_module("threadpoolctl").threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def people() -> Records:
    return synthetic_records("person", PEOPLE, 7)


@pytest.fixture(scope="module")
def person() -> Target:
    return targets_of(EncodingSection.from_json(default_section("person")))[0]


@pytest.fixture(scope="module")
def plain_bits(person: Target, people: Records) -> Bits:
    return encode(person.plain(), people.rows, KEYS)


@pytest.fixture(scope="module")
def hardened_bits(person: Target, people: Records) -> Bits:
    return encode(person, people.rows, KEYS)


def surnames_only(hardening: dict[str, JsonValue]) -> Target:
    """A narrow projection with many bits for each pair of letters, as the pattern-mining paper attacks."""
    section = copy.deepcopy(default_section("person"))
    feature: JsonValue = {
        "identifier": "family_name",
        "format": {"type": "string", "encoding": "ascii", "case": "upper"},
        "hashing": {
            "comparison": {"type": "ngram", "n": 2, "positional": False},
            "strategy": {"bitsPerToken": 15},
            "hash": {"type": "blakeHash"},
            "missingValue": {"sentinel": ""},
        },
    }
    projections = section["projections"]
    assert isinstance(projections, list)
    projection = projections[0]
    assert isinstance(projection, dict)
    schema = projection["schema"]
    assert isinstance(schema, dict)
    schema["features"] = [feature]
    projection["hardening"] = dict(hardening)
    return targets_of(EncodingSection.from_json(section, ["person"]))[0]


def test_bit_profile_tells_plain_from_hardened(plain_bits: Bits, hardened_bits: Bits) -> None:
    plain, hardened = bit_profile(plain_bits), bit_profile(hardened_bits)
    assert plain.gini > 0.2 > 0.1 > hardened.gini
    assert plain.divergence > 0.15 > 0.1 > hardened.divergence
    assert 0.2 < plain.fill < 0.28
    assert 0.45 < hardened.fill < 0.5


def test_bit_profile_of_known_codes() -> None:
    same = bit_profile(np.tile(np.array([[1, 0, 1, 0]], np.uint8), (10, 1)))
    assert same.duplicates == Proportion(10, 10)
    assert same.top_pattern == Proportion(10, 10)
    assert same.fill == pytest.approx(0.5)
    assert same.gini == pytest.approx(0.5)
    coins = bit_profile(np.random.default_rng(1).integers(0, 2, (5_000, 256), np.uint8))
    assert coins.gini < 0.02
    assert coins.divergence < 0.02
    assert coins.duplicates.hits == 0


def test_known_pairs_find_people_in_plain_encodings(
    person: Target, people: Records, plain_bits: Bits, hardened_bits: Bits
) -> None:
    grams = grams_of(people.rows, cuts_of(person), ("given_names", "family_name"))
    plain = known_pairs_attack(plain_bits, grams, 300, "names", np.random.default_rng(1))
    hardened = known_pairs_attack(hardened_bits, grams, 300, "names", np.random.default_rng(1))
    assert plain.top1.share > 0.7
    assert plain.top10.share > 0.9
    assert hardened.top1.share < plain.top1.share / 5
    assert plain.candidates <= PEOPLE - 300


def test_known_pairs_do_not_find_what_is_not_there(person: Target, people: Records) -> None:
    """Codes that have nothing to do with the people give chance: no person leaks into the model elsewhere."""
    grams = grams_of(people.rows, cuts_of(person), person.fields)
    noise = np.random.default_rng(1).integers(0, 2, (PEOPLE, 1024), np.uint8)
    found = known_pairs_attack(noise, grams, 200, "everything", np.random.default_rng(1))
    assert found.top1.share < 0.01
    constant = known_pairs_attack(np.zeros_like(noise), grams, 200, "everything", np.random.default_rng(1))
    assert constant.top1.hits <= 1


@pytest.mark.parametrize("overlap", [100, 70])
def test_graph_matching_finds_people_in_plain_encodings(overlap: int, person: Target) -> None:
    count = 700
    rows = synthetic_records("person", 2 * count, 7).rows
    shared = count * overlap // 100
    order = np.random.default_rng(2).permutation(count)
    public = (*rows[:shared], *rows[count : 2 * count - shared])
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    truth = np.where(np.arange(count) < shared, place, -1)
    shares = []
    for target in (person.plain(), person):
        encoded = encode(target, rows[:count], KEYS)
        listed = encode(target, [public[number] for number in order], made_up_keys(1, "attacker"))
        found = graph_matching_attack(encoded, listed, truth, overlap).found
        assert found.tries == shared
        shares.append(found.share)
    assert shares[0] > 0.9
    assert shares[1] < 0.03


def test_pattern_mining_names_bits_of_plain_encodings_rightly() -> None:
    rows = synthetic_records("person", 3_000, 7).rows
    plain = surnames_only({"kind": "plain/v1"})
    hardened = surnames_only({"kind": "sparse-diffusion/v1", "taps": 5})
    grams = grams_of(rows, cuts_of(plain), plain.fields)
    found = pattern_mining_attack(encode(plain, rows, KEYS), grams, np.random.default_rng(1))
    assert found.right.hits >= 6
    assert found.right.share > 0.5
    assert found.top1.share > 0.01  # by chance .001: one of about a thousand surnames
    against = pattern_mining_attack(encode(hardened, rows, KEYS), grams, np.random.default_rng(1))
    assert against.right.hits == 0
    assert against.top1.share < 0.005


def test_key_holder_finds_nearly_everybody_hardened_or_not(person: Target, people: Records) -> None:
    found = key_holder_attack(person, people.rows[:600], KEYS, 1)
    assert found.same.share > 0.99
    assert found.misspelt.share > 0.95


def test_token_frequencies_show_who_is_equal(people: Records) -> None:
    section = EncodingSection.from_json(default_section("person"))
    first = dict(people.rows[0])
    rows = [first, {**first, "given_names": "ANOTHER"}, people.rows[1], {"given_names": "NOBODY"}]
    token = token_frequencies(section, rows, KEYS)[0]
    assert token.having == Proportion(3, 4)
    assert token.shared == Proportion(2, 3)
    assert token.most_common == 2


def test_hardening_costs_a_little_accuracy(person: Target) -> None:
    views = synthetic_views("person", 800, 3)
    plain, hardened = (linkage_quality(form, views, KEYS) for form in (person.plain(), person))
    assert plain.f1 > 0.8
    assert hardened.f1 > plain.f1 - 0.1
    assert plain.threshold != hardened.threshold


def test_proportion_intervals() -> None:
    assert Proportion(0, 0).interval == (0.0, 1.0)
    low, high = Proportion(10, 1_000).interval
    assert (round(low, 4), round(high, 4)) == (0.0054, 0.0183)
    assert Proportion.total([Proportion(1, 10), Proportion(2, 20)]) == Proportion(3, 30)


def test_people_are_not_printed(people: Records) -> None:
    assert people.rows[0]["family_name"] not in repr(people)
