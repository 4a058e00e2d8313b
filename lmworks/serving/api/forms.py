"""multipart/form-data, as OpenAI's clients send files: fields and files of one body that is there as a whole.

    fields = read_form(body, http.headers["content-type"])
    fields["file"].content, fields["file"].filename

Source: RFC 7578, https://www.rfc-editor.org/rfc/rfc7578.
"""

from __future__ import annotations

from email.message import Message
from typing import NamedTuple

from lmworks.serving.errors import Refused

MOST_PARTS = 64
MOST_HEAD = 8192
"""Bytes of a part's headers."""


class Part(NamedTuple):
    """A field of a form."""

    content: bytes
    filename: str | None

    def text(self, name: str) -> str:
        """A field's text. Refused for what is none."""
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            raise Refused(400, f"{name} is no UTF-8", param=name) from None


def read_form(body: bytes, content_type: str) -> dict[str, Part]:
    """The fields of a form by their names, of several of one name the last. Refused for what is no such form."""
    boundary = _boundary(content_type)
    if not boundary or len(boundary) > 70 or not boundary.isascii():
        raise Refused(415, "send multipart/form-data, as OpenAI's clients do, with the recording as its field file")
    opening, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), MOST_PARTS + 2)
    if opening.strip() or len(parts) > MOST_PARTS + 1 or not parts or not parts[-1].startswith(b"--"):
        raise Refused(400, "the body is no whole form (cut off, or of too many fields?)")
    return dict(_part(one) for one in parts[:-1])


def _boundary(content_type: str) -> str | None:
    said = Message()
    said["content-type"] = content_type
    try:
        return said.get_boundary() if said.get_content_type() == "multipart/form-data" else None
    except ValueError:  # a parameter may name an encoding, and be none in it
        return None


def _part(part: bytes) -> tuple[str, Part]:
    head, blank, content = part.partition(b"\r\n\r\n")
    if not blank or len(head) > MOST_HEAD:
        raise Refused(400, "a field of the form has no content")
    headers = Message()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == "content-disposition":
            headers["content-disposition"] = value.strip().replace("\n", " ").replace("\r", " ")
    named = headers.get_param("name", header="content-disposition")
    if not isinstance(named, str):
        raise Refused(400, "a field of the form has no name")
    try:
        filename = headers.get_filename()
    except ValueError:  # as in _boundary
        raise Refused(400, f"the name of the file of {named[:40]} cannot be read", param="file") from None
    return named, Part(content, filename and filename.encode(errors="replace").decode())
