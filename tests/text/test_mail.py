"""E-mails: a document a message, whatever it was sent as; what is damaged is named."""

from __future__ import annotations

import contextlib
import mailbox
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.text.formats import mail
from lmworks.text.plain import UnreadableError
from lmworks.text.sources import read


def message(subject: str, text: str, **more: Any) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Petra Möller <p@x.example>", "ann@x.example", subject
    made["Date"] = "Tue, 04 Nov 2025 09:12:00 +0100"
    made.set_content(text, **more)
    return made


def test_a_message_says_who_when_and_what(tmp_path: Path):
    made = message("Angebot für Stegbretter", "60 Bretter zu 34,80 Euro.\n", charset="iso-8859-1")
    made.add_alternative("<p>Something else</p>", subtype="html")
    made.add_attachment(b"\0\1", maintype="application", subtype="pdf", filename="Preise.pdf")
    (tmp_path / "offer.eml").write_bytes(bytes(made))
    [one] = read(tmp_path).documents
    assert one.source == "offer.eml" and one.text == (
        "From: Petra Möller <p@x.example>\nTo: ann@x.example\nDate: Tue, 04 Nov 2025 09:12:00 +0100\n"
        "Subject: Angebot für Stegbretter\nAttached: Preise.pdf\n\n60 Bretter zu 34,80 Euro."
    )
    assert one.metadata["title"] == ("Angebot für Stegbretter",)
    assert one.metadata["author"] == ("Petra Möller <p@x.example>",)


def test_a_message_in_html_alone_is_read(tmp_path: Path):
    made = message("Regatta", "<h1>Start</h1><p>At pier 4.</p><script>x()</script>", subtype="html")
    (tmp_path / "a.eml").write_bytes(bytes(made))
    assert read(tmp_path).documents[0].text.endswith("\n\n# Start\n\nAt pier 4.")


def test_a_mailbox_is_what_the_standard_library_wrote(tmp_path: Path):
    box = mailbox.mbox(str(tmp_path / "all.mbox"))
    texts = ["The gate code is 4482.", "From here on it rains.\n\nFrom Monday too.", "\nFrom\n>From me"]
    for number, text in enumerate(texts):
        box.add(message(f"Note {number}", text))
    box.flush()
    found = read(tmp_path).documents
    assert [one.source for one in found] == ["all.mbox#1", "all.mbox#2", "all.mbox#3"]
    assert [one.text.split("\n\n", 1)[1] for one in found[:2]] == texts[:2]


def test_what_is_no_mail_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.eml").write_bytes(b"\xff\0no mail")
    (tmp_path / "b.mbox").write_text("no mailbox")
    monkeypatch.setattr(mail, "MESSAGE_LIMIT", 1000)
    box = f"From x\nSubject: a\n\n{'b' * 80}\n" + "c\n" * 900 + "\nFrom y\nSubject: d\n\nThe end.\n"
    (tmp_path / "c.mbox").write_text(box)
    reading = read(tmp_path)
    assert [one.text for one in reading.documents] == ["Subject: d\n\nThe end."]
    reasons = {one.path: one.reason for one in reading.skipped}
    assert reasons["a.eml"].startswith("not an e-mail") and reasons["b.mbox"].startswith("not a mailbox")
    assert reasons["c.mbox"].startswith("1 of 2 records; the first: message 1: an e-mail of more than")


PARTS = b"Subject: a\nContent-Type: multipart/mixed; boundary=x\n\n--x\n"


@pytest.mark.parametrize("head", [b"", PARTS, b"Content-Type: text/html\nFrom: "])
@given(content=st.binary(max_size=300))
def test_a_damaged_message_is_read_or_named(head: bytes, content: bytes):
    with contextlib.suppress(UnreadableError):
        assert mail._document(head + content, "a.eml").text


def test_parts_within_parts_without_end_are_named_and_not_the_end(tmp_path: Path):
    """The standard library's parser calls itself for each."""
    opened = "".join(f"--b{depth}\nContent-Type: multipart/mixed; boundary=b{depth + 1}\n\n" for depth in range(3000))
    (tmp_path / "parts.eml").write_text(
        f"From: a@b\nContent-Type: multipart/mixed; boundary=b0\n\n{opened}--b3000\n\nwords\n"
    )
    (tmp_path / "forwarded.eml").write_text("From: a@b\nContent-Type: message/rfc822\n\n" * 5000 + "words")
    (tmp_path / "address.eml").write_text(f"From: {'(' * 5000}\nSubject: Lunch\n\nwords\n")
    reading = read(tmp_path)
    assert {one.source for one in reading.documents} | {one.path for one in reading.skipped} == {
        "parts.eml",
        "forwarded.eml",
        "address.eml",
    }
    assert all("an e-mail that cannot be read" in one.reason for one in reading.skipped) and len(reading.skipped) >= 2
