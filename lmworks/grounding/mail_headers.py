"""The lines above a mail's text (From, To, Date, Subject), which answer only what is asked of the sending.

    skipped = header_end(passage.text) if passage.start == 0 and not asks_of_sending(question) else 0

They hold names and a date beside the words of the subject, so that a reader takes them for an answer to "When is the
summer party?". In English, German and Spanish; those that the reader of mails writes are English.
"""

from __future__ import annotations

import re

_NAMES = """
    From To Cc Bcc Date Sent Subject Reply-To Attached
    Von An Kopie Datum Gesendet Betreff
    De Para Fecha Enviado Asunto
"""
_LINE = rf"(?:{'|'.join(_NAMES.split())}):[ \t]+\S.*"
_BLOCK = re.compile(rf"\s*{_LINE}(?:\n(?:{_LINE}|[ \t]+\S.*))+(?=\n\s*\n|\s*\Z)")
"""At least two of them, some of which may go on in an indented line, and an empty line after them."""
_GREETING = re.compile(r"\s*[^\s.!?:;][^\n.!?:;]{0,60},[ \t]*(?=\n)")
"""The first line of the text, where it ends in a comma: "Dear all,"."""
_SENDING = re.compile(
    r"\b(?:wr(?:ote|ites?|iting|itten)|sen(?:t|ds?|ding|ders?)|e?-?mail(?:s|ed)?|messages?|letters?|receive[ds]?|recipients?|"
    r"from\s+whom?|whom?\b.*\b(?:from|to)(?=\W*\Z)|to\s+whom?|subject|cc|copied|copy|attach\w*|forwarded|answered|replied|"
    r"schrieb\w*|geschrieben|schreibt|schickt\w*|geschickt|sendet\w*|gesendet|gemailt|Absender\w*|Empfänger\w*|Betreff|"
    r"Nachricht\w*|Brief\w*|an\s+wen|von\s+wem|Anhang|angehängt|"
    r"escrib\w+|escrit\w+|envi\w+|mand\w+|correos?|mensajes?|cartas?|remitente|destinatarios?|asunto|[aà]\s+quién(?:es)?|"
    r"de\s+quién(?:es)?|adjunt\w+)\b",
    re.IGNORECASE,
)


def asks_of_sending(question: str) -> bool:
    """Whether a question may be about who wrote a mail to whom, when, under which subject, or with what attached."""
    return _SENDING.search(question) is not None


def header_end(text: str) -> int:
    """Where the header of a mail ends that a text begins with, with the greeting below it; 0 where there is none."""
    found = _BLOCK.match(text)
    if not found:
        return 0
    greeting = _GREETING.match(text, found.end())
    return greeting.end() if greeting else found.end()
