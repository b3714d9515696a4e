"""Identifiers that cannot belong to anybody.

- NHS numbers: only the range 999 000 0000 to 999 999 9999, which NHS England reserves for tests and never
  issues, each with a valid modulus 11 check digit (NHS Data Dictionary, "NHS NUMBER").
- Telephone numbers: only Ofcom's ranges for drama, 07700 900000-900999 and 01632 960000-960999. There are
  two thousand of them, so that people share numbers: they must not be used to tell people apart.
- UPRNs: twelve digits from 999 000 000 000, beyond any that is allocated.
- E-mail: example.org (RFC 2606).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from anyascii import anyascii

from tallystick.population.model import PopulationError

_TEST_RANGE = 1_000_000  # the six free digits between the prefix 999 and the check digit
_STRIDE = 387_420_489  # 3**18, coprime to the range: visits every number once, scattered


def nhs_check_digit(nine: str) -> int | None:
    """The modulus 11 check digit of nine digits; None where it would be ten and the number is not used."""
    remainder = sum(int(digit) * weight for digit, weight in zip(nine, range(10, 1, -1), strict=True)) % 11
    check = 11 - remainder
    return None if check == 10 else check % 11


def nhs_numbers(start: int) -> Iterator[str]:
    """All valid numbers of the test range, each once, in a scattered order that depends on ``start``.

    Raises PopulationError when the range is used up (about 909,000 numbers).
    """
    for step in range(_TEST_RANGE):
        nine = f"999{(start + step * _STRIDE) % _TEST_RANGE:06d}"
        check = nhs_check_digit(nine)
        if check is not None:
            yield f"{nine}{check}"
    raise PopulationError(
        "The NHS test range holds about 909,000 numbers and all are used: ask for fewer people per agency."
    )


def phone_number(rng: Random) -> str:
    prefix = "07700 900" if rng.random() < 0.8 else "01632 960"
    return f"{prefix}{int(rng.random() * 1000):03d}"


def uprn(key: int) -> str:
    return str(999_000_000_000 + key)


def email_address(given: str, family: str, number: int) -> str:
    local = "".join(
        letter for letter in anyascii(f"{given}.{family}").lower() if letter.isalnum() or letter == "."
    )
    return f"{local}{number % 100:02d}@example.org"
