"""`lmworks check` on a text: what it says of sound ones, and of one broken on purpose for each check."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lmworks.basics.errors import DataError
from lmworks.checks import corpus, data, repeats
from lmworks.checks.result import CheckResult
from lmworks.checks.run import check_anything, check_corpus
from lmworks.text.document import Document
from lmworks.text.sources import Reading
from lmworks.text.splits import Split, ngrams_found, place, split

WORDS = [f"{first}{second}" for first in ("lo", "mi", "ra", "tu") for second in ("ben", "dor", "gal", "nim", "sat")]


NO_LABELS = {"there are classes to tell apart", "no text has two labels", "files named as parts share no document"}
"""Checks that a plain text has nothing for."""


def prose(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words)) + "."


def opened(*texts: str, blank: int = 0) -> corpus.Corpus:
    documents = [Document(text, f"{number}.txt") for number, text in enumerate((*texts, *map(prose, range(20))))]
    return corpus.Corpus(Reading(documents, [], "mine", blank), split(documents), None)


def made(folder: Path, train: list[str], held_out: list[str]) -> Path:
    """The folder that `lmworks corpus` leaves, with a report that is right."""
    for side, texts in (("train", train), ("held_out", held_out)):
        (folder / side).mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"text": text, "source": f"{side} {number}"}) for number, text in enumerate(texts)]
        (folder / side / "00000.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    sides = {"train": train, "held_out": held_out}
    found = ngrams_found(*([Document(text, "") for text in texts] for texts in (train, held_out)))
    report = {
        "recipe": {"split": {"held_out": 0.3}},
        "overlap": {"n": 13, "found": sum(map(sum, found))},
        **{
            side: {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
            for side, texts in sides.items()
        },
    }
    (folder / "corpus.json").write_text(json.dumps(report))
    return folder


def sides() -> tuple[list[str], list[str]]:
    texts = [prose(seed) for seed in range(40)]
    below = [place(Document(text, "")) < 0.3 for text in texts]
    return (
        [text for text, out in zip(texts, below, strict=True) if not out],
        [text for text, out in zip(texts, below, strict=True) if out],
    )


def failed(result: CheckResult, words: str) -> None:
    assert result.status == "FAILED" and words in result.detail, result


def test_a_sound_text_passes(tmp_path: Path):
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(prose(number))
    results = check_corpus(str(tmp_path))
    assert {one.name: one.status for one in results if one.status != "ok"} == dict.fromkeys(
        NO_LABELS, "not applicable"
    ) | {"the split is the report's": "not applicable"}


def test_what_lmworks_corpus_made_passes_in_all(tmp_path: Path):
    pytest.importorskip("datatrove", reason="the extra `corpus` is not installed; run: pip install 'lmworks[corpus]'")
    from lmworks.text.corpus.run import build

    build("manual", tmp_path / "manual", changes=["tasks=1"])
    results = check_corpus(str(tmp_path / "manual"))
    assert {one.name for one in results if one.status != "ok"} == NO_LABELS and len(results) == 9


@pytest.mark.parametrize("changes", [[], ["split.held_out=0.5", "split.counterfactual=gender"]])
def test_a_small_corpus_of_any_kind_is_what_its_report_says(changes: list[str], tmp_path: Path):
    """Of few documents the bound moves, pairs go by their prompts, and counterparts by what they are of."""
    pytest.importorskip("datatrove", reason="the extra `corpus` is not installed; run: pip install 'lmworks[corpus]'")
    from lmworks.text.corpus.run import build

    asked = [{"prompt": prose(at, 20), "chosen": f"He {prose(50 + at)}", "rejected": "No."} for at in range(8)]
    for kind, records in {"pairs": asked, "texts": [{"text": f"He {one['chosen']}"} for one in asked]}.items():
        (tmp_path / f"{kind}.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in records))
        build(str(tmp_path / f"{kind}.jsonl"), tmp_path / kind, changes=["tasks=1", *changes])
        result = corpus.as_reported(corpus.open_corpus(str(tmp_path / kind)))
        assert result.status == "ok", result.detail


def test_a_small_corpus_without_held_out_text_is_read(tmp_path: Path):
    folder = made(tmp_path / "small", [prose(1), prose(2)], [])
    (folder / "held_out" / "00000.jsonl").unlink()
    assert len(corpus.open_corpus(str(folder)).reading.documents) == 2


@pytest.mark.parametrize("text", ["---\n***\n", "\u200b \u200d", "\ufffd\ufffd"])
def test_an_empty_document_is_found(text: str):
    failed(corpus.filled(opened(text)), "1 document without a letter or a digit: 0.txt")


def test_records_without_text_are_found():
    failed(corpus.filled(opened(blank=3)), "records without any text")


def test_characters_that_stand_for_lost_ones_are_found():
    failed(corpus.encoding(opened(f"na\ufffdve {prose(1)}")), "U+FFFD differ at 0.txt (1 there)")
    assert corpus.encoding(opened("\ufffd", prose(5, 20_000))).status == "ok"  # one in 100,000


SENTENCE = "Grüße aus Zürich – naïve “quotes”, дом, 日本語 €"


@pytest.mark.parametrize("wrong", ["latin-1", "cp1252"])
def test_utf8_that_was_read_as_another_encoding_is_found(wrong: str):
    text = SENTENCE.encode().decode(wrong, "ignore")
    failed(corpus.encoding(opened(text)), "mojibake")
    assert corpus.mojibake("Ã©tÃ©") == ["Ã©", "Ã©"] and corpus.mojibake("â€œyesâ€™") == ["â€œ", "â€™"]


@pytest.mark.parametrize("text", [SENTENCE, "ÂNGELO «É» À LA Ñ", "TIẾNG VIỆT ĐÃ Ở", "à² ô¿", "Ã b Â c"])
def test_letters_with_accents_are_no_mojibake(text: str):
    assert corpus.mojibake(text) == []


def test_a_document_that_repeats_another_is_found():
    result = repeats.once(opened(prose(3).upper().replace(" ", "\n")))
    failed(result, "1 document repeats an earlier one: 4.txt repeats 0.txt")
    assert "differ" not in result.detail


def records(path: Path, *pairs: tuple[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"prompt": text, "completion": label}) for text, label in pairs)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {one.name: one for one in results}


def test_documents_of_a_part_that_stand_in_another_are_counted(tmp_path: Path):
    texts = [(prose(seed, 20), "yes" if seed % 3 else "no") for seed in range(40)]
    records(tmp_path / "ds" / "train.jsonl", *texts[:30])
    records(tmp_path / "ds" / "test.jsonl", *texts[27:])
    found = by_name(check_corpus(str(tmp_path / "ds")))
    failed(
        found["files named as parts share no document"], "3 of 13 documents of test stand in train: test.jsonl#1 rep"
    )
    records(tmp_path / "ds" / "test.jsonl", *texts[30:])
    assert by_name(check_corpus(str(tmp_path / "ds")))["files named as parts share no document"].status == "ok"


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("train.csv#21", "train"),
        ("data/dev-0.jsonl#3", "valid"),
        ("test/notes.txt", "test"),
        ("held_out/00000.jsonl#1", "test"),
        ("latest/attest.txt", None),
        ("train_or_test.csv#1", None),
        ("train/a#b/test.txt#4", "test"),
    ],
)
def test_a_part_is_named_by_a_whole_word_of_its_file_or_folder(source: str, part: str | None):
    assert repeats.part_of(source) == part


def test_a_text_is_compared_with_another(tmp_path: Path):
    texts = [(prose(seed, 20), "yes" if seed % 3 else "no") for seed in range(40)]
    train = records(tmp_path / "ds" / "train.csv.jsonl", *texts[:30])
    test = records(tmp_path / "ds" / "test.jsonl", *texts[29:])
    kind, results = check_anything(str(train), data=str(test))
    found = by_name(results)
    assert kind == "text"
    failed(found["the texts share no document"], f"1 of 11 documents of {test} stands in {train}: test.jsonl#1 repeats")
    failed(found["the texts share few words in a row"], f"9.1 % of the {test} runs of 13 words")
    _, results = check_anything(str(train), data=str(records(test, *texts[30:])))
    assert {by_name(results)[name].status for name in ("the texts share no document",)} == {"ok"}


def test_a_single_class_and_texts_under_two_labels_are_found(tmp_path: Path):
    one = [(prose(seed, 8), "neg") for seed in range(60)]
    found = by_name(check_corpus(str(records(tmp_path / "one.jsonl", *one))))
    failed(found["there are classes to tell apart"], "all 60 texts have one class, 'neg'")
    two = [(text, "pos" if at < 15 else "neg") for at, (text, _) in enumerate(one)]
    found = by_name(check_corpus(str(records(tmp_path / "two.jsonl", *two, (one[2][0].upper(), "neg")))))
    classes = found["there are classes to tell apart"]
    assert classes.status == "ok" and classes.compared == "61 texts of 2 classes"
    assert classes.detail == "commonest 'neg' 75.4% (46), rarest 'pos' 24.6% (15)"
    failed(
        found["no text has two labels"],
        "1 text had another label before: two.jsonl#61 says 'neg' and two.jsonl#3 'pos'",
    )


@pytest.mark.parametrize(
    "answer", ["{}", "It is always the same, and it goes on for more than a line of text does. " * 2]
)
def test_answers_that_are_no_labels_have_no_classes(answer: str, tmp_path: Path):
    found = by_name(
        check_corpus(str(records(tmp_path / "qa.jsonl", *((prose(at), answer.format(at)) for at in range(9)))))
    )
    assert found["there are classes to tell apart"].status == "not applicable"


def test_9_sides_that_share_a_document_or_most_of_its_words(tmp_path: Path):
    train, held_out = sides()
    shared = corpus.open_corpus(str(made(tmp_path / "a", [*train, held_out[0]], held_out)))
    failed(data.held_out(shared), "held-out documents that stand in the training text: 1;")
    almost = [f"{text} And more." for text in held_out]
    overlapping = corpus.open_corpus(str(made(tmp_path / "b", [*train, *almost], held_out)))
    failed(data.held_out(overlapping), "runs of 13 words")


CHANGED: dict[str, tuple[Callable[[list[str], list[str]], object], str]] = {
    "a training document is missing": (lambda train, held_out: train.pop(), "training documents"),
    "a held-out document was added": (lambda train, held_out: held_out.append(prose(77)), "held-out documents"),
    "a text was changed": (lambda train, held_out: train.append(train.pop() + " More."), "training bytes"),
    "a document changed sides": (lambda train, held_out: train.append(held_out.pop()), "sides"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_9_a_corpus_that_is_not_what_its_report_says(what: str, tmp_path: Path):
    act, unit = CHANGED[what]
    folder = made(tmp_path / "corpus", *sides())
    report = (folder / "corpus.json").read_text()
    assert corpus.as_reported(corpus.open_corpus(str(folder))).status == "ok"
    train, held_out = sides()
    act(train, held_out)
    made(folder, train, held_out)
    (folder / "corpus.json").write_text(report)
    result = corpus.as_reported(corpus.open_corpus(str(folder)))
    assert result.status == "FAILED" and unit in {one.unit for one in result.differences if not one.within}


def test_a_corpus_without_its_parts_is_one_sentence(tmp_path: Path):
    folder = made(tmp_path / "other", *sides())
    (folder / "corpus.json").write_text("{}")
    failed(corpus.as_reported(corpus.open_corpus(str(folder))), "corpus.json lacks 'recipe'")
    shutil.rmtree(folder / "held_out")
    with pytest.raises(DataError, match=r"has a corpus\.json and no folder held_out; make the corpus again"):
        check_corpus(str(folder))


def test_the_split_of_a_raw_text_is_the_one_of_training():
    text = opened()
    assert text.parts == split(text.reading.documents) and isinstance(text.parts, Split)
