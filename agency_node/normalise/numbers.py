"""NHS number, UPN, UPRN, telephone and e-mail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from operator import mul
from typing import Final

import numpy as np
import phonenumbers
from email_validator import EmailNotValidError, validate_email
from numpy.typing import NDArray

from agency_node.normalise.reasons import MISSING, Outcome, Reason, unique
from agency_node.normalise.text import MAX_CHARACTERS, is_blank, is_placeholder, plain

_TEN_DIGITS: Final = re.compile(r"[0-9]{10}")
_NHS_WEIGHTS: Final = range(10, 1, -1)
_NHS_ZEROS: Final = ord("0") * sum(_NHS_WEIGHTS)
_NO_NUMBER: Final = "-" * 10
_SCIENTIFIC: Final = re.compile(r"\d(?:\.\d+)?E\+?\d{1,2}")
_NOT_ALPHANUMERIC: Final = re.compile(r"[^A-Z0-9]+")
_UPN_LETTERS: Final = "ABCDEFGHJKLMNPQRTUVWXYZ"
_PHONE_SEVERAL: Final = re.compile(r"\s*(?:/|;|\||,|\bOR\b|\n)\s*")
_OFCOM_DRAMA: Final = re.compile(
    r"\+44(?:7700900\d{3}|2079460\d{3}|(?:113|114|115|116|117|118|121|131|141|151|161|191)4960\d{3}|"
    r"2890180\d{3}|2920180\d{3}|1632960\d{3}|8081570\d{3}|9098790\d{3}|3069990\d{3})"
)
_MOBILE: Final = re.compile(r"07[0-9]{3} ?[0-9]{6}")
_NO_EMAIL: Final = re.compile(
    r"(?:no|none|noemail|no-email|no\.email|unknown|na|n/a|test|anon|anonymous|nobody|donotuse|noreply|no-reply)@.*"
    r"|.*@(?:none|noemail|no-email|unknown|na)(?:\..*)?",
    re.IGNORECASE,
)


def _compact(text: str) -> str | Outcome:
    """Upper-case letters and digits of a number, or the outcome where the cell holds no number at all."""
    if is_blank(text):
        return MISSING
    if len(text) > MAX_CHARACTERS:
        return Outcome("", (Reason.TOO_LONG,))
    words = plain(text, [])
    if _SCIENTIFIC.fullmatch(words):
        return Outcome("", (Reason.NUMBER_DAMAGED,))
    words = words.removesuffix(".0")
    code = _NOT_ALPHANUMERIC.sub("", words)
    if not code or is_placeholder(" ".join(_NOT_ALPHANUMERIC.split(words)).strip()):
        return Outcome("", (Reason.PLACEHOLDER,))
    return code


def normalise_nhs_number(text: str) -> Outcome:
    """Ten digits whose modulus 11 check digit is right (NHS Data Dictionary); idempotent.

    Numbers from 999 000 0000, which are never issued to a person, are kept and flagged.
    """
    code = text if _TEN_DIGITS.fullmatch(text) else _compact(text)
    if isinstance(code, Outcome):
        return code
    code = code.removeprefix("NHS").removeprefix("NO")
    if len(code) != 10 or not code.isdigit():
        return Outcome("", (Reason.INVALID_FORMAT,))
    if code == code[0] * 10:
        return Outcome("", (Reason.PLACEHOLDER,))
    check = 11 - (sum(map(mul, code.encode(), _NHS_WEIGHTS)) - _NHS_ZEROS) % 11
    if check % 11 != int(code[9]) or check == 10:
        return Outcome("", (Reason.INVALID_CHECK_DIGIT,))
    reasons = [Reason.TEST_RANGE] if code.startswith("999") else []
    if code != text:
        reasons.append(Reason.REFORMATTED)
    return Outcome(code, tuple(reasons))


def are_plain_nhs_numbers(cells: Sequence[str]) -> NDArray[np.bool_]:
    """Which cells :func:`normalise_nhs_number` would keep as they are, without any remark."""
    sized = [cell if len(cell) == 10 and cell.isascii() else _NO_NUMBER for cell in cells]
    digits = np.frombuffer("".join(sized).encode("ascii"), np.uint8).reshape(-1, 10) - np.uint8(ord("0"))
    total = digits[:, :9].astype(np.int32) @ np.arange(10, 1, -1, dtype=np.int32)
    check = (11 - total % 11) % 11
    repeated = (digits == digits[:, :1]).all(axis=1) | (digits[:, :3] == 9).all(axis=1)
    return np.asarray((digits <= 9).all(axis=1) & (check == digits[:, 9]) & ~repeated)


def normalise_upn(text: str) -> Outcome:
    """A Unique Pupil Number, whose first letter checks the rest (DfE, UPN guide, modulus 23); idempotent."""
    code = _compact(text)
    if isinstance(code, Outcome):
        return code
    if not re.fullmatch(r"[A-HJ-NP-RT-Z]\d{11}[0-9A-HJ-NP-RT-Z]", code):
        return Outcome("", (Reason.INVALID_FORMAT,))
    total = sum(
        weight * (int(char) if char.isdigit() else _UPN_LETTERS.index(char))
        for weight, char in enumerate(code[1:], start=2)
    )
    if _UPN_LETTERS[total % 23] != code[0]:
        return Outcome("", (Reason.INVALID_CHECK_DIGIT,))
    reasons = [] if code[12].isdigit() else [Reason.TEMPORARY_NUMBER]
    if code != text:
        reasons.append(Reason.REFORMATTED)
    return Outcome(code, tuple(reasons))


def normalise_uprn(text: str) -> Outcome:
    """A Unique Property Reference Number: 1 to 12 digits, leading zeros removed (BS 7666); idempotent."""
    code = _compact(text)
    if isinstance(code, Outcome):
        return code
    digits = code.lstrip("0")
    if not code.isdigit() or len(digits) > 12:
        return Outcome("", (Reason.INVALID_FORMAT,))
    if not digits or (len(digits) > 3 and len(set(digits)) == 1):
        return Outcome("", (Reason.PLACEHOLDER,))
    if digits != code:
        return Outcome(digits, (Reason.LEADING_ZEROS_REMOVED,))
    return Outcome(digits, () if digits == text else (Reason.REFORMATTED,))


def normalise_phone(text: str, region: str = "GB") -> Outcome:
    """The first valid telephone number of a cell in E.164; idempotent.

    Numbers that Ofcom reserves for drama (07700 900000 to 900999 and kin) are kept and flagged.
    """
    if is_blank(text):
        return MISSING
    if len(text) > MAX_CHARACTERS:
        return Outcome("", (Reason.TOO_LONG,))
    words = plain(text, [])
    if _SCIENTIFIC.fullmatch(words):
        return Outcome("", (Reason.NUMBER_DAMAGED,))
    words = words.removesuffix(".0")
    digits = "".join(char for char in words if char.isdigit())
    if not digits or (len(digits) >= 7 and len(set(digits.lstrip("0"))) <= 1):
        return Outcome(
            "",
            (Reason.PLACEHOLDER if not words.strip("0123456789 +") or not digits else Reason.INVALID_FORMAT,),
        )
    if region == "GB" and _MOBILE.fullmatch(text):
        return _uk_mobile(f"+44{digits[1:]}")
    several = [part for part in _PHONE_SEVERAL.split(words) if sum(char.isdigit() for char in part) >= 6]
    for part in several:
        number, reasons = _phone(part, region)
        if number:
            more = [Reason.SEVERAL_VALUES] if len(several) > 1 else []
            if number != text and not reasons and not more:
                more.append(Reason.REFORMATTED)
            return Outcome(number, unique([*reasons, *more]))
    return Outcome("", (Reason.INVALID_FORMAT,))


def _uk_mobile(e164: str) -> Outcome:
    """The outcome for a mobile number in its usual form: the same as the long way, only faster."""
    if _OFCOM_DRAMA.fullmatch(e164):
        return Outcome(e164, (Reason.TEST_RANGE,))
    if _mobile_block_is_issued(e164[:-4]):
        return Outcome(e164, (Reason.REFORMATTED,))
    return Outcome("", (Reason.INVALID_FORMAT,))


@lru_cache(maxsize=1 << 17)
def _mobile_block_is_issued(prefix: str) -> bool:
    """The numbering plan tells mobile numbers apart by their leading digits; the last four are free."""
    return _is_issued(f"{prefix}0000")


def _phone(text: str, region: str) -> tuple[str, list[Reason]]:
    """E.164 of one number and the reasons, or "" where it is none."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return "", []
    reasons: list[Reason] = []
    if number.extension:
        reasons.append(Reason.EXTENSION_REMOVED)
        number.extension = None
    e164 = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    if _OFCOM_DRAMA.fullmatch(e164):
        return e164, [*reasons, Reason.TEST_RANGE]
    if not _is_issued(e164):
        return "", []
    if region == "GB" and re.fullmatch(r"[127]\d{8,9}", text.replace(" ", "")):
        reasons.append(Reason.LEADING_ZEROS_RESTORED)
    return e164, reasons


def _is_issued(e164: str) -> bool:
    """Whether the numbering plan has such a number, read from its E.164 form so that the answer is stable."""
    return bool(phonenumbers.is_valid_number(phonenumbers.parse(e164, None)))


@lru_cache(maxsize=1 << 16)
def normalise_email(text: str) -> Outcome:
    """An e-mail address in lower-case ASCII, checked for form only (its domain is not looked up)."""
    if is_blank(text):
        return MISSING
    if len(text) > MAX_CHARACTERS:
        return Outcome("", (Reason.TOO_LONG,))
    stripped = text.strip()
    shown = re.fullmatch(r"[^<>]*<\s*([^<>]+?)\s*>|mailto:(.*)", stripped, re.IGNORECASE)
    candidates = [
        part for part in re.split(r"[;,\s]+", (shown[1] or shown[2]) if shown else stripped) if part
    ]
    if not candidates or is_placeholder(" ".join(_NOT_ALPHANUMERIC.split(plain(stripped, []))).strip()):
        return Outcome("", (Reason.PLACEHOLDER,))
    for candidate in candidates:
        if _NO_EMAIL.fullmatch(candidate):
            return Outcome("", (Reason.PLACEHOLDER,))
        try:
            # .test domains are accepted: they are what test data has, and no domain is looked up anyway
            checked = validate_email(
                candidate, check_deliverability=False, allow_smtputf8=False, test_environment=True
            )
        except EmailNotValidError:
            continue
        address = (checked.ascii_email or "").lower()
        if address and not _NO_EMAIL.fullmatch(address):
            more = [Reason.SEVERAL_VALUES] if len(candidates) > 1 else []
            if address != text and not more:
                more.append(Reason.REFORMATTED)
            return Outcome(address, tuple(more))
    return Outcome("", (Reason.INVALID_FORMAT,))
