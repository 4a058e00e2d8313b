"""`lmworks explain-answer`: its table, its JSON, and one sentence for mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from tokens.test_metaspace import TEMPLATES, tokenizer

import lmworks as lm
from lmworks.evaluation.faithfulness import beside_random
from lmworks.inside.patching import difference, log_probability
from lmworks.language_model import LanguageModel


def test_a_row_for_each_token_and_what_they_add_up_to(run, model_folder):
    ran = run("explain-answer", model_folder, "Hi you", "--answer", " no", "--layers")
    rows = ran.out.splitlines()
    assert ran.code == 0 and [row.split()[0] for row in rows[1:3]] == ["H", "i"]
    assert rows[7].startswith("answer    ' no': -")
    assert rows[8].startswith("after layer") and len(rows) == 12  # of the embedding, and after each of two layers
    told = run("explain-answer", model_folder, "Hi you", "--answer", " no", "--heads").out.splitlines()
    assert [row.split()[0] for row in told[-3:]] == ["previous", "duplicate", "induction"] and "nats" in told[-1]
    whole = run("explain-answer", model_folder, "Hi you", "--answer", " no", "--method", "integrated-gradients").out
    assert whole.splitlines()[-1].startswith("left ")  # of the only method whose shares add up


@pytest.mark.parametrize("method", ["occlusion", "gradient-x-input", "integrated-gradients"])
def test_the_same_as_json_and_from_python(run, model_folder, method):
    said = ("Hi you", "--answer", " no", "--instead", " yes", "--method", method)
    facts = run("explain-answer", model_folder, *said, "--json").json
    found = lm.load(model_folder, dtype="float32").attribute("Hi you", " no", instead=" yes", method=method)
    assert [one["token"] for one in facts["tokens"]] == list("Hi you") and facts["method"] == method
    assert [one["nats"] for one in facts["tokens"]] == pytest.approx(found.scores.tolist())
    assert facts["value"] - facts["without_prompt"] == pytest.approx(
        sum(one["nats"] for one in facts["tokens"]) + facts["left"], abs=1e-4
    )


def test_the_models_own_answer_is_explained_by_the_tokens_that_it_wrote(run, model_folder):
    model = lm.load(model_folder, dtype="float32")
    written = model.generate("Hi", max_new_tokens=8)
    facts = run("explain-answer", model_folder, "Hi", "--json").json
    assert facts["answer"] == written.text
    ended = written.tokens[-1] in model.tokenizer.stop_ids
    assert facts["value"] == pytest.approx(sum(written.logprobs[: len(written.tokens) - ended]), abs=1e-3)


def test_answers_that_begin_otherwise_or_are_longer_are_told(run, model_folder):
    def noted(answer: str, instead: str) -> list[str]:
        told = run("explain-answer", model_folder, "Hi you", "--answer", answer, "--instead", instead).out
        return [line for line in told.splitlines() if line.startswith("note ")]

    joined = "note      'no' goes on with the prompt's last word, 'you'; a word of its own begins with a space: ' no'"
    end = ": their probabilities do not compare token by token"
    assert noted(" no", " ye") == []
    assert noted(" no", "yes") == [f"note      only ' no' begins with a space{end}"]
    assert noted(" no", " yes") == [f"note      the answers have 3 and 4 tokens{end}"]
    assert noted("no", " yes") == [
        joined,
        f"note      only ' yes' begins with a space, and the answers have 2 and 4 tokens{end}",
    ]
    chat = run("explain-answer", model_folder, "Hi you", "--answer", "no", "--chat").out
    assert joined not in chat and joined in run("explain-answer", model_folder, "Hi you", "--answer", "no").out


def test_answers_are_told_to_be_as_long_as_they_are_after_the_prompt(run, tmp_path: Path):
    """Where the template ends with a special token and Metaspace begins anew behind it, "b" is one token there, and "c"
    two: a space and a letter."""
    begins_anew = tokenizer("always", True, TEMPLATES["next to words"])
    folder = LanguageModel(tiny.network(vocab_size=begins_anew.vocab_size), begins_anew).save(tmp_path / "model")
    said = ("explain-answer", str(folder), "a", "--chat", "--answer", "b", "--instead", "c")
    assert "note      the answers have 1 and 2 tokens: " in run(*said).out


@pytest.mark.parametrize("instead", [None, " ye"], ids=["an answer", "one answer and not another"])
def test_where_the_difference_to_another_prompt_is_carried(run, model_folder, instead):
    other = () if instead is None else ("--instead", instead)
    said = ("explain-answer", model_folder, "Hi you", "--answer", "no", *other, "--corrupt", "Ho yew")
    facts = run(*said, "--json").json["patching"]
    model = lm.load(model_folder, dtype="float32")
    found = model.patch("Hi you", "Ho yew", "no" if instead is None else ("no", instead))
    assert facts["shares"] == [pytest.approx(row, abs=1e-6) for row in found.tolist()]
    of = "log p('n')" if instead is None else "log p('n') - log p(' ')"
    assert facts["of"] == of and facts["place"] == "residual_in"
    both = zip("Hi you", "Ho yew", strict=True)
    assert facts["tokens"] == [{"token": one, "corrupt": two} for one, two in both]
    rows = run(*said).out.splitlines()
    head = next(at for at, row in enumerate(rows) if row.startswith("into layer"))
    places = [at for at in range(6) if float(found[:, at].abs().max()) >= 0.05]
    names = {1: "i/o", 2: "", 3: "y", 4: "o/e", 5: "u/w"}
    assert rows[head].split() == ["into", "layer", *" ".join(f"{at + 1} {names[at]}" for at in places).split()]
    shown = [[float(one) for one in row.split()] for row in rows[head + 1 : head + 3]]
    assert shown == [
        [at, *(pytest.approx(float(row[place]), abs=0.006) for place in places)] for at, row in enumerate(found)
    ]
    assert rows[head + 3].startswith(f"carried   of the difference in {of} between the prompts")


def test_of_many_tokens_those_that_carry_most_are_shown(run, model_folder):
    """Those before the first that differs carry nothing: they read the same."""
    one = run("explain-answer", model_folder, "Hi you", "--answer", "no", "--corrupt", "Hi yow").out.splitlines()
    assert [row.split() for row in one[-5:-2]] == [["into", "layer", "6", "u/w"], ["0", "1.00"], ["1", "1.00"]]
    assert one[-1] == "          the other tokens carry 0.00 at most"
    many = run("explain-answer", model_folder, "Hi you there\nand", "--answer", "no", "--corrupt", "Ji you there\nand")
    head = next(row for row in many.out.splitlines() if row.startswith("into layer")).split()
    assert sum(word.isdecimal() for word in head) <= 8 and head[2:4] == ["1", "H/J"]


def test_how_faithful_the_shares_are_is_told_beside_random_rankings(run, model_folder):
    said = ("explain-answer", model_folder, "Hi you there", "--answer", " no", "--faithful")
    facts = run(*said, "--json").json["faithfulness"]
    model = lm.load(model_folder, dtype="float32")
    told = beside_random(model.network, model.attribute("Hi you there", " no"))
    assert facts["rankings"] == 100
    for name in ("comprehensiveness", "sufficiency"):
        one = getattr(told, name)
        assert facts[name] == {"lost": one.value, "by_chance": one.by_chance, "better_than": one.beaten}
    rows = run(*said).out.splitlines()[-3:]
    assert rows[0].split("  ")[:2] == ["of the answer", ""] and "nats lost" in rows[0] and "chance 50 %" in rows[0]
    assert [row.split("  ")[0] for row in rows[1:]] == ["without the highest-ranked tokens", "with them alone"]
    assert float(rows[1].split()[4]) == pytest.approx(told.comprehensiveness.value, abs=0.001)
    assert rows[1].rstrip().endswith(f"{told.comprehensiveness.beaten:.0%} of 100".replace("%", " %"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.embedder(tmp_path_factory.mktemp("models") / "encoder")


MISTAKES = {
    "an empty prompt": (("MODEL", ""), "the prompt is empty: there is nothing to explain"),
    "an empty answer": (("MODEL", "Hi", "--answer", ""), "--answer is empty; give a text"),
    "an answer beside itself": (("MODEL", "Hi", "--answer", "a", "--instead", "a"), "compared with itself"),
    "a method that there is not": (("MODEL", "Hi", "--answer", "a", "--method", "magic"), "there is no way 'magic'"),
    "a prompt longer than the window": (("MODEL", "a" * 513, "--answer", "b"), "the model reads 512; shorten"),
    "a prompt of megabytes": (("MODEL", "a" * 2_000_000, "--answer", "b"), "the model reads 512; shorten it"),
    "an answer that does not fit": (("MODEL", "a", "--answer", "b" * 600), "have 601 tokens and the model reads 512"),
    "an encoder": (("ENCODER", "Hi", "--answer", "b"), "is an encoder and does not write"),
    "an encoder-decoder": (("TRANSLATOR", "Hi", "--answer", "b"), "answers are explained of decoders"),
    "prompts of other lengths": (("MODEL", "Hi", "--answer", "a", "--corrupt", "Hiya"), "have 2 and 4 tokens"),
    "the same prompt twice": (("MODEL", "Hi", "--answer", "a", "--corrupt", "Hi"), "have the same figure"),
    "an empty prompt beside it": (("MODEL", "Hi", "--answer", "a", "--corrupt", ""), "--corrupt is empty; give a text"),
    "answers that begin alike": (
        ("MODEL", "Hi", "--answer", "no", "--instead", "ne", "--corrupt", "Ho"),
        "both answers begin with the same token",
    ),
    "one token to rank": (("MODEL", "H", "--answer", "a", "--faithful"), "the prompt has one token"),
    "no model": (("none", "Hi"), "none is neither a known model nor a path"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_in_a_sentence(run, model_folder, translator_folder, encoder, case):
    (model, *rest), said = MISTAKES[case]
    folders = {"MODEL": model_folder, "TRANSLATOR": translator_folder, "ENCODER": encoder}
    ran = run("explain-answer", folders.get(model, model), *rest)
    assert ran.code == 1 and said in ran.err and "Traceback" not in ran.err and not ran.out


def test_what_tells_prompts_apart_is_measured_on_the_token_that_is_named(run, tmp_path):
    """An answer whose bytes are no text comes back from its tokens as other tokens."""
    path = tmp_path / "model"
    tiny.language_model(seed=4).save(path)
    model = lm.load(path, dtype="float32")
    clean, corrupt = "The fox", "The box"
    written = model.attribute(clean).answer_ids
    again = model.tokenizer.encode(model.attribute(clean).answer, special=False, continues=True)
    assert again[0] != written[0], "the decoded answer begins with another token"
    facts = run("explain-answer", str(path), clean, "--corrupt", corrupt, "--json").json["patching"]
    true = model.patch(clean, corrupt, log_probability(written[0]))
    assert facts["shares"] == [pytest.approx(row, abs=1e-6) for row in true.tolist()]
    both = run("explain-answer", str(path), clean, "--instead", " ye", "--corrupt", corrupt, "--json").json["patching"]
    other = model.tokenizer.encode(" ye", special=False, continues=True)[0]
    true = model.patch(clean, corrupt, difference(written[0], other))
    assert both["shares"] == [pytest.approx(row, abs=1e-6) for row in true.tolist()]
