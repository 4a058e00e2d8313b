"""Chunks are verbatim, whole sentences, under their headings."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from lmworks.grounding.chunks import chunks_of
from lmworks.text.document import Document
from lmworks.text.metadata import of_front_matter
from lmworks.text.records import document
from lmworks.text.sources import read

TEXT = """# Renting a flat
## Payment
The rent is due on the third working day. It is 740 euros.

Late payment costs 5 euros a day.
## Pets
Cats are allowed. Dogs need the landlord's written consent.

Rules
-----

No drums after ten.
"""


def words(texts):
    return [len(text.split()) for text in texts]


def test_chunks_keep_sentences_whole_and_know_their_headings():
    found = chunks_of(Document(TEXT, "rent.md"), words, longest=20)
    assert [(one.heading, one.text.split()[0]) for one in found] == [
        ("Payment", "The"),
        ("Pets", "Cats"),
        ("Rules", "No"),
    ]
    assert (
        found[0].text
        == "The rent is due on the third working day. It is 740 euros.\n\nLate payment costs 5 euros a day."
    )
    assert {one.title for one in found} == {"Renting a flat"}
    assert found[1].whole == "Renting a flat\nPets\nCats are allowed. Dogs need the landlord's written consent."


def test_every_chunk_is_a_span_of_the_text_and_all_words_are_in_one():
    for longest in (3, 7, 20, 500):
        found = chunks_of(Document(TEXT, "rent.md"), words, longest)
        assert all(TEXT[one.start : one.end] == one.text for one in found)
        assert all(before.end <= after.start for before, after in itertools.pairwise(found))
        held = " ".join(one.text for one in found).split()
        headings = [*["#", "Renting", "a", "flat", "##", "Payment", "##", "Pets", "Rules", "-----"]]
        assert Counter(held) + Counter(headings) == Counter(TEXT.split())


def test_a_sentence_that_is_too_long_is_cut_between_words():
    text = " ".join(f"word{at}" for at in range(50))
    found = chunks_of(Document(text, "list.txt"), words, longest=8)
    assert [len(one.text.split()) for one in found] == [8] * 6 + [2]
    assert " ".join(one.text for one in found).split() == text.split()


def test_a_script_without_spaces_is_cut_between_characters():
    for text in ("東京タワーは電波塔である" * 40, "สวัสดีครับผมชื่อสมชาย" * 30 + " " + "ครับ" * 20):
        found = chunks_of(Document(text, "list.txt"), lambda texts: [len(text) for text in texts], longest=64)
        assert all(len(one.text) <= 64 for one in found) and len(found) < len(text) / 30
        assert "".join(one.text for one in found).replace(" ", "") == text.replace(" ", "")


def test_a_document_without_a_heading_is_called_by_its_file_or_record():
    (one,) = chunks_of(Document("It rained.", "notes/my_boat.txt"), words, longest=8)
    assert (one.title, one.heading) == ("my boat", "")
    (one,) = chunks_of(Document("It rained.", "chats.jsonl#Weather"), words, longest=8)
    assert one.title == "Weather"
    assert chunks_of(Document("# Only a heading", "a.md"), words, longest=8) == []


def test_a_title_of_a_record_or_of_front_matter_stands_in_front():
    (one,) = chunks_of(document({"id": 1, "title": " The\nBoat ", "text": "It leaks."}, "a.jsonl#1"), words, longest=8)
    assert (one.whole, one.text, one.start) == ("The Boat\nIt leaks.", "It leaks.", 0)
    heading = document({"title": "The Boat", "text": "# Repairs\n\nIt leaks."}, "a.jsonl#1")
    assert [one.whole for one in chunks_of(heading, words, longest=8)] == ["The Boat\nRepairs\nIt leaks."]
    same = document({"title": "The Boat", "text": "# The Boat\n\nIt leaks."}, "a.jsonl#1")
    assert [one.whole for one in chunks_of(same, words, longest=8)] == ["The Boat\nIt leaks."]
    text = "---\ntitle: The Boat\n---\n\nIt leaks."
    front, note = chunks_of(Document(text, "notes/b7.md", metadata=of_front_matter(text)), words, longest=20)
    assert (note.title, note.heading, note.text) == ("The Boat", "", "It leaks.")
    assert front.title == "The Boat" and text.startswith(front.text)


@pytest.mark.parametrize("rule", ["---", "..."])
def test_no_sentence_goes_on_from_front_matter(rule: str):
    text = f"---\ntitle: Boiler\n{rule}\nIt hums."
    *_, note = chunks_of(Document(text, "b.md", metadata=of_front_matter(text)), words, longest=20)
    assert (note.text, text[note.start : note.end]) == ("It hums.", "It hums.")


@pytest.mark.parametrize("marks", ["## {}", "{}\n------"])
@pytest.mark.parametrize("words_of_it", ["2. Notice", "1.2. Scope of work", "Who pays? When?", "The board. A history"])
def test_a_full_stop_ends_no_heading(marks: str, words_of_it: str):
    text = f"# Lease\n\n{marks.format(words_of_it)}\n\nFour months.\n\n#\nNot above.\n"
    (one,) = chunks_of(Document(text, "lease.md"), words, longest=20)
    assert (one.title, one.heading, one.text) == ("Lease", words_of_it, "Four months.\n\n#\nNot above.")


@pytest.mark.parametrize("line", ["## Notice ##", "## Notice##", "##\tNotice \u00a0 #"])
def test_the_marks_that_close_a_heading_are_no_words_of_it(line: str):
    (one,) = chunks_of(Document(f"# Lease\n\n{line}\nFour months.\n", "lease.md"), words, longest=20)
    assert one.heading == "Notice"


@pytest.mark.parametrize(("line", "said"), [("## #", "#"), ("## ##", "#"), ("## a # b", "a # b"), ("## a # #", "a #")])
def test_marks_within_a_heading_are_words_of_it(line: str, said: str):
    (one,) = chunks_of(Document(f"{line}\nFour months.\n", "lease.md"), words, longest=20)
    assert one.heading == said


def test_a_heading_with_many_blanks_in_it_is_read_at_once():
    text = "## Notice" + " " * 200_000 + "of Ann\nFour months.\n"  # eight minutes where each blank is looked at again
    (one,) = chunks_of(Document(text, "lease.md"), words, longest=20)
    assert (one.heading.rstrip(), one.text) == ("Notice", "Four months.")


def test_a_rule_below_a_paragraph_makes_no_heading_of_its_last_line():
    text = "It rained. We left\nearly. It was cold\n---\n\nThen it stopped."
    assert {one.heading for one in chunks_of(Document(text, "a.md"), words, longest=40)} == {""}


def test_a_comment_in_code_is_no_heading():
    fenced = "# Start\n\nType this:\n\n```sh\n# as root\nmake\n\n# later\nrun\n```\n\n## Stop\n\nPress q.\n"
    found = chunks_of(Document(fenced, "use.md"), words, longest=40)
    assert [(one.heading, one.text.split()[0]) for one in found] == [("", "Type"), ("Stop", "Press")]
    assert "# as root\nmake\n\n# later" in found[0].text
    program = "# Set up\nx = 1\n\n# Run\nprint(x)\n"
    (whole,) = chunks_of(Document(program, "tools/run.py"), words, longest=40)
    assert (whole.title, whole.heading, whole.text) == ("run", "", program.strip())
    unclosed = "```\n# one\n\n# two\n"
    assert {one.heading for one in chunks_of(Document(unclosed, "a.md"), words, longest=40)} == {""}


def test_a_caption_in_a_table_says_which_photo_it_is_of(tmp_path):
    (tmp_path / "a.csv").write_text("file_name,text\nhall/cat.jpg,A cat on a mat.\n")
    (tmp_path / "b.csv").write_text("file_name,caption\ndog.jpg,A dog in the snow.\n")
    (tmp_path / "c.jsonl").write_text(
        '{"image": "cow.png", "text": "A cow.", "title": "On the farm"}\n'
        '{"image": "hen.png", "captions": ["A hen.", "A brown bird."]}\n'
        '{"path": "a.html", "title": "No image"}\n'
        '{"path": "a.html", "text": "No image."}\n'
    )
    reading = read(tmp_path, look_up=True)
    found = [chunk for one in reading.documents for chunk in chunks_of(one, words, longest=20)]
    assert [one.whole for one in found] == [
        "hall/cat.jpg\nA cat on a mat.",
        "b\nfile_name: dog.jpg; caption: A dog in the snow.",
        "On the farm (cow.png)\nA cow.",
        "hen.png\nA hen.\nA brown bird.",
        "c\nNo image.",
    ]
    assert [one.reason.partition(";")[0] for one in reading.skipped] == ["1 of 4 records"]
