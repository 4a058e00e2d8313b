"""`lmworks explain-answer`: its table, its JSON, and one sentence for mistakes."""

from __future__ import annotations

import pytest
import tiny

import lmworks as lm


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


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.embedder(tmp_path_factory.mktemp("models") / "encoder")


MISTAKES = {
    "an empty prompt": (("MODEL", ""), "the prompt is empty: there is nothing to explain"),
    "an empty answer": (("MODEL", "Hi", "--answer", ""), "the answer is empty"),
    "an answer beside itself": (("MODEL", "Hi", "--answer", "a", "--instead", "a"), "compared with itself"),
    "a method that there is not": (("MODEL", "Hi", "--answer", "a", "--method", "magic"), "there is no way 'magic'"),
    "a prompt longer than the window": (("MODEL", "a" * 513, "--answer", "b"), "the model reads 512; shorten"),
    "a prompt of megabytes": (("MODEL", "a" * 2_000_000, "--answer", "b"), "the model reads 512; shorten it"),
    "an answer that does not fit": (("MODEL", "a", "--answer", "b" * 600), "have 601 tokens and the model reads 512"),
    "an encoder": (("ENCODER", "Hi", "--answer", "b"), "is an encoder and does not write"),
    "an encoder-decoder": (("TRANSLATOR", "Hi", "--answer", "b"), "answers are explained of decoders"),
    "no model": (("none", "Hi"), "none is neither a known model nor a path"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_in_a_sentence(run, model_folder, translator_folder, encoder, case):
    (model, *rest), said = MISTAKES[case]
    folders = {"MODEL": model_folder, "TRANSLATOR": translator_folder, "ENCODER": encoder}
    ran = run("explain-answer", folders.get(model, model), *rest)
    assert ran.code == 1 and said in ran.err and "Traceback" not in ran.err and not ran.out
