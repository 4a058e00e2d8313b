"""E-mails: a message (.eml) or a mailbox (.mbox) as one document a message: who wrote it to whom and when, its subject,
its text. Of several forms of a text the plain one is taken, else that in HTML. Attachments are named and not read.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

from lmworks.text.document import Document
from lmworks.text.formats.format import Format, Found, first_line
from lmworks.text.formats.html_page import text_of_html
from lmworks.text.metadata import of_record
from lmworks.text.plain import MEBIBYTE, UnreadableError, check_size, newlines

HEADERS = ("From", "To", "Cc", "Date", "Subject")
"""What stands above the text, in this order."""
MESSAGE_LIMIT = 64 * MEBIBYTE
"""Bytes of one message, attachments included."""
TOO_LARGE = f"an e-mail of more than {MESSAGE_LIMIT / MEBIBYTE:.0f} MiB; save it without attachments"
DAMAGED = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError)
"""What the standard library's parser raises at damaged messages, and at parts within parts within parts."""
_QUOTED = re.compile(rb">+From ")


def read_message(path: Path, name: str) -> Found:
    """The one message of a file."""
    if path.stat().st_size > MESSAGE_LIMIT:
        raise UnreadableError(TOO_LARGE)
    yield _document(path.read_bytes(), name)


def read_mailbox(path: Path, name: str) -> Found:
    """The messages of a mailbox, by their number; one that cannot be read is named."""
    check_size(path)
    for number, message in enumerate(_messages(path), 1):
        try:
            yield _document(message, f"{name}#{number}")
        except UnreadableError as error:
            yield UnreadableError(f"message {number}: {error}")


def _messages(path: Path) -> Iterator[bytes]:
    """What stands between lines that begin with "From " after an empty line; ">From " within it was "From ". Of a
    message that is too large, as much as tells so."""
    held: list[bytes] = []
    size, after_blank = 0, False
    with path.open("rb") as file:
        if not file.readline().startswith(b"From "):
            raise UnreadableError('not a mailbox: it does not begin with a line "From ..."')
        for line in file:
            if after_blank and line.startswith(b"From "):
                yield b"".join(held)
                held, size = [], 0
            elif size <= MESSAGE_LIMIT:
                held.append(line[1:] if _QUOTED.match(line) else line)
                size += len(line)
            after_blank = not line.strip()
    yield b"".join(held)


def _document(content: bytes, source: str) -> Document:
    if len(content) > MESSAGE_LIMIT:
        raise UnreadableError(TOO_LARGE)
    message = _parsed(content)
    said = {name: text for name in HEADERS if (text := _header(message, name))}
    if not said:
        raise UnreadableError("not an e-mail: it has neither sender nor date nor subject")
    lines = [f"{name}: {text}" for name, text in said.items()]
    if attached := ", ".join(_attached(message)):
        lines.append(f"Attached: {attached}")
    facts = {"title": said.get("Subject", ""), "author": said.get("From", ""), "date": said.get("Date", "")}
    text = newlines("\n".join(lines) + "\n\n" + _body(message)).encode("utf-8", "replace").decode()
    return Document(text, source, metadata=of_record(facts, ()))


def _parsed(content: bytes) -> EmailMessage:
    try:
        return email.message_from_bytes(content, policy=email.policy.default)
    except DAMAGED as error:
        raise UnreadableError(f"an e-mail that cannot be read ({first_line(error)})") from None


def _attached(message: EmailMessage) -> list[str]:
    try:
        return [one.get_filename() or one.get_content_type() for one in message.iter_attachments()]
    except DAMAGED:
        return []


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except DAMAGED:
        return ""


def _body(message: EmailMessage) -> str:
    """The message's own words; empty where it has none."""
    try:
        part = message.get_body(("plain", "html"))
        if part is None:
            return ""
        payload = part.get_payload(decode=True) or b""
        text = _decoded(payload if isinstance(payload, bytes) else b"", str(part.get_content_charset("utf-8")))
        return text_of_html(text) if part.get_content_subtype() == "html" else text.strip()
    except DAMAGED as error:
        raise UnreadableError(f"an e-mail that cannot be read ({first_line(error)})") from None


def _decoded(payload: bytes, charset: str) -> str:
    """A text by its charset; by UTF-8 where there is no such charset."""
    try:
        return payload.decode(charset, "replace")
    except LookupError:
        return payload.decode("utf-8", "replace")


MESSAGE = Format("e-mail", (".eml",), read_message)
MAILBOX = Format("mailbox", (".mbox",), read_mailbox)
