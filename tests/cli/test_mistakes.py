"""A mistake of the user's is one sentence on standard error and exit code 1, never a traceback."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from lmworks.basics.errors import Stopped


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nlerning_rate = 1e-4\n")
    return str(path)


MISTAKES = {
    "a negative temperature": (("generate", "MODEL", "Hi", "--temperature", "-1"), "temperature is -1"),
    "top_p 0": (("generate", "MODEL", "Hi", "--top-p", "0"), "top_p is 0"),
    "top_p 2": (("generate", "MODEL", "Hi", "--top-p", "2"), "top_p is 2"),
    "top_k 0": (("generate", "MODEL", "Hi", "--top-k", "0"), "top_k is 0"),
    "min_p 2": (("chat", "MODEL", "--min-p", "2"), "min_p is 2"),
    "a seed below 0": (("generate", "MODEL", "Hi", "--seed", "-1"), "seed is -1"),
    "no token to write": (("generate", "MODEL", "Hi", "--max-new-tokens", "0"), "max_new_tokens is 0"),
    "an empty stop string": (("generate", "MODEL", "Hi", "--stop", ""), "none of them empty"),
    "no beam": (("generate", "MODEL", "Hi", "--beams", "0"), "--beams is 0; it should be greater than 0"),
    "beams that draw": (
        ("generate", "MODEL", "Hi", "--beams", "2", "--top-k", "3"),
        "--beams draws nothing; leave out --top-k, or --beams",
    ),
    "a length penalty without beams": (("generate", "MODEL", "Hi", "--length-penalty", "1"), "give --beams too"),
    "groups without beams": (
        ("chat", "MODEL", "--beam-groups", "2"),
        "--beam-groups is about beams; give --beams too",
    ),
    "groups that would write the same": (
        ("generate", "MODEL", "Hi", "--beams", "4", "--beam-groups", "2"),
        "--beam-groups and --diversity-penalty go together",
    ),
    "an early stopping that is none": (
        ("generate", "MODEL", "Hi", "--beams", "2", "--early-stopping", "maybe"),
        "say yes, no or never",
    ),
    "beams and contrastive search": (
        ("generate", "MODEL", "Hi", "--beams", "2", "--contrastive", "0.6"),
        "--beams and --contrastive are two ways",
    ),
    "contrastive search that draws": (
        ("generate", "MODEL", "Hi", "--contrastive", "0.6", "--temperature", "1"),
        "--contrastive draws nothing; leave out --temperature",
    ),
    "contrastive search that guesses": (
        ("generate", "MODEL", "Hi", "--contrastive", "0.6", "--lookup"),
        "contrastive search reads all its candidates and guesses none",
    ),
    "a bias without a number": (
        ("generate", "MODEL", "Hi", "--logit-bias", "the"),
        "--logit-bias is the; write it as TOKEN=BIAS",
    ),
    "a bias out of bounds": (("generate", "MODEL", "Hi", "--logit-bias", "4=101"), "101"),
    "a bias on no token": (("generate", "MODEL", "Hi", "--logit-bias", "9999999=1"), "the vocabulary has"),
    "two forms of one answer": (
        ("generate", "MODEL", "Hi", "--choice", "yes", "--regex", "y"),
        "--regex and --choice are two forms of one answer",
    ),
    "a schema that is not there": (
        ("generate", "MODEL", "Hi", "--schema", "nowhere.json"),
        "--schema nowhere.json is neither a file that can be read nor JSON",
    ),
    "a schema that is no JSON": (("generate", "MODEL", "Hi", "--schema", "{"), "the JSON schema is no schema"),
    "an expression that is none": (("generate", "MODEL", "Hi", "--regex", "("), "the regular expression"),
    "a form of beams": (
        ("generate", "MODEL", "Hi", "--beams", "2", "--choice", "yes"),
        "a constraint follows one answer that is written token by token",
    ),
    "two that guess": (("generate", "MODEL", "Hi", "--lookup", "--draft", "MODEL"), "both guess the same tokens"),
    "the size of no guess": (("generate", "MODEL", "Hi", "--most-guessed", "3"), "give --lookup or --draft too"),
    "a guess of nothing": (("generate", "MODEL", "Hi", "--lookup", "--most-guessed", "0"), "most is 0"),
    "a window that does neither": (("generate", "MODEL", "Hi", "--window", "roll"), "say stop or slide"),
    "a window that slides over beams": (
        ("generate", "MODEL", "Hi", "--beams", "2", "--window", "slide"),
        "a window slides over one text",
    ),
    "a stretch of no kind": (
        ("generate", "MODEL", "Hi", "--rope-scaling", "4"),
        "write it as KIND:FACTOR (linear, dynamic or yarn), for example yarn:4",
    ),
    "a stretch by nothing": (
        ("chat", "MODEL", "--rope-scaling", "yarn:1"),
        "write it as KIND:FACTOR (linear, dynamic or yarn), for example yarn:4",
    ),
    "a chat with a translator": (
        ("chat", "TRANSLATOR"),
        "makes one target of one source text; it has no conversations",
    ),
    "a message to a translator": (("generate", "TRANSLATOR", "Hi", "--chat"), "it has no conversations"),
    "a misspelt model": (("generate", "smolm2", "Hi"), "did you mean smollm2?"),
    "a misspelt model to check": (("check", "smolm2"), "did you mean smollm2?"),
    "a misspelt model to look at": (("models", "smolm2"), "did you mean smollm2?"),
    "a misspelt model to fetch": (("models", "fetch", "smolm2"), "did you mean smollm2?"),
    "a model that is none": (("evaluate", "nowhere/at/all", "TEXT"), "is neither a known model nor a path"),
    "a folder that is no model": (("check", "TEXT", "--as", "model"), "no config.json"),
    "a name of two things": (
        ("check", "python-reference"),
        "python-reference is the name of a text and of a recipe; say which with --as text or --as recipe",
    ),
    "an unknown kind": (("check", "TEXT", "--as", "poem"), "say model, text, tokenizer, shards or recipe"),
    "nothing that could be checked": (("check", "shakespear-char"), "did you mean shakespeare-char?"),
    "a recipe that is not there": (("check", "mine2.toml"), "neither a known model, text or recipe nor a path"),
    "a text for a recipe": (("check", "german", "--data", "TEXT"), "--data goes with a model, a tokenizer or a text"),
    "a setting of a model": (("check", "MODEL", "--set", "a=1"), "--set goes with a recipe"),
    "a prompt longer than the window": (
        ("generate", "MODEL", "x" * 600),
        "the prompt has 600 tokens and the model reads 512",
    ),
    "a text that is not there": (("evaluate", "MODEL", "wikitxt2"), "did you mean wikitext2?"),
    "a text to check that is not there": (("check", "MODEL", "--data", "wikitxt2"), "did you mean wikitext2?"),
    "plain text for a translator": (("evaluate", "TRANSLATOR", "TEXT"), "has no answer or label; give records with"),
    "a window for a translator": (("evaluate", "TRANSLATOR", "TEXT", "--window", "9"), "--window does not go with"),
    "BLEU of what continues a text": (("evaluate", "MODEL", "TEXT", "--figure", "bleu"), "--figure does not go with"),
    "a window of 1": (("evaluate", "MODEL", "TEXT", "--window", "1"), "the window is 1 tokens"),
    "a text that a shell's variable should have named": (
        ("index", ""),
        "text is empty; give a path or a name, and . for",
    ),
    "a model of that kind": (("generate", "", "Hi"), "model is empty; give a path or a name"),
    "an output of that kind": (("embed", "MODEL", "TEXT", "--out", ""), "--out is empty; give a path or a name"),
    "one of several": (("merge", "MODEL", "", "--base", "MODEL"), "MODEL... is empty; give a path or a name"),
    "a text of a verb below another": (("tokens", "train", ""), "text is empty; give a path or a name"),
    "an unknown recipe key": (
        ("build", "TEXT", "--model", "MODEL", "--recipe", "RECIPE"),
        "mine.toml: training.lerning_rate is not a setting; did you mean training.learning_rate?",
    ),
    "an unknown key in --set": (("build", "TEXT", "--set", "training.stepz=4"), "did you mean training.steps?"),
    "a --set without a value": (("build", "TEXT", "--set", "training.steps"), "write it as name=value"),
    "an unknown recipe": (("build", "TEXT", "--recipe", "fastest"), "fastest is not a shipped recipe"),
    "an unknown thing to explain": (("explain", "everything"), "explain does not know 'everything'"),
    "an unknown format": (("export", "MODEL", "--to", "onnx"), "'onnx' is not a format that lmworks exports to"),
    "an unknown type": (("export", "MODEL", "--type", "q2_k"), "'q2_k' is not a type of GGUF file"),
    "a name that is no GGUF file's": (("export", "MODEL", "--out", "m.bin"), "does not end in .gguf"),
    "a tokenizer without merges": (("export", "MODEL"), "has no merges, and llama.cpp could not give the same ids"),
    "a translator to export": (("export", "TRANSLATOR"), "an encoder-decoder cannot be written as GGUF here"),
    "a factor that stretches nothing": (("generate", "MODEL", "Hi", "--rope-scaling", "yarn:0.5"), "a factor above 1"),
    "a least above the most": (
        ("generate", "MODEL", "Hi", "--min-new-tokens", "9", "--max-new-tokens", "3"),
        "min_new_tokens is 9 and max_new_tokens is 3, which is less",
    ),
    "three bits": (("compress", "MODEL", "--bits", "3", "--text", "TEXT"), "3 bits are not written here"),
    "bits of fewer dimensions": (
        ("compress", "MODEL", "--text", "TEXT", "--dimensions", "4", "--bits", "8", "--tokens", "9"),
        "--bits and --tokens: fewer dimensions leave all weights as they are; leave it out",
    ),
    "a translator to compress": (("compress", "TRANSLATOR", "--text", "TEXT"), "it has no conversations"),
    "a result in a folder of one's own": (
        ("compress", "MODEL", "--text", "TEXT", "--out", "TEXT"),
        "is not a model directory",
    ),
    "an unknown number of bits to run in": (
        ("generate", "MODEL", "Hi", "--compress", "int3"),
        "'int3', and it is one of",
    ),
    "heads that are not compiled": (
        ("evaluate", "MODEL", "TEXT", "--compress", "int8"),
        "compress=int8 cannot be had: the compiled path has heads in steps of 16 dimensions, and head_dim is 8; "
        "leave it out",
    ),
    "an unknown action": (("models", "smollm2", "delete"), "models looks at one model; leave out 'delete'"),
    "a server for everybody": (("serve", "MODEL", "--host", "0.0.0.0"), "give --api-key, or --without-key"),
    "an address that is not here": (
        ("serve", "MODEL", "--host", "192.0.2.1", "--api-key", "k"),
        "cannot be listened on",
    ),
    "no seat": (("serve", "MODEL", "--port", "0", "--seats", "0"), "seats is 0"),
    "more seats than any machine has": (
        ("serve", "smollm2", "--port", "0", "--seats", "1000000"),
        "seats is 1000000; it should be",
    ),
    "a queue without an end": (("serve", "smollm2", "--port", "0", "--queue", "1000000000"), "queue is 1000000000"),
    "a time before now": (("serve", "smollm2", "--port", "0", "--seconds", "-1"), "seconds is -1"),
    "no end": (("serve", "smollm2", "--port", "0", "--grace", "inf"), "grace_seconds is inf"),
    "every address of this machine, the IPv6 ones, too": (("serve", "smollm2", "--host", "::"), "give --api-key, or"),
    "no address": (("serve", "smollm2", "--host", "", "--without-key"), "the host is empty"),
    "no time": (("serve", "MODEL", "--port", "0", "--seconds", "0"), "seconds is 0"),
    "a misspelt model to serve": (("serve", "smolm2", "--port", "0"), "did you mean smollm2?"),
    "a misspelt model to measure": (("bench", "serve", "smolm2"), "did you mean smollm2?"),
    "a server that is not there": (("bench", "serve", "http://127.0.0.1:1"), "does not answer"),
    "clients that are no number": (("bench", "serve", "MODEL", "--concurrency", "a"), "--concurrency is 'a'"),
    "a name that gives the terminal orders": (
        ("evaluate", "MODEL", "a\x1b]0;b\x07\x1b[31m\x9b\u202e"),
        "a\\x1b]0;b\\x07\\x1b[31m\\u009b\\u202e does not exist",
    ),
    "a schema that is a pipe": (
        ("generate", "MODEL", "Hi", "--schema", "PIPE"),
        "is neither a file that can be read nor JSON",
    ),
    "a recipe that is a pipe": (("train", "PIPE.toml"), "cannot be read (not a file of data (a pipe, socket or dev"),
    "a template that is a pipe": (("tokens", "train", "TEXT", "--chat-template", "PIPE"), "cannot be read"),
    "a misspelt page": (("docs", "tun"), "lmworks: the handbook has no page 'tun'; did you mean 'tune'?"),
    "a misspelt method": (
        ("tune", "MODEL", "--data", "TEXT", "--method", "dorra"),
        "lmworks: method is 'dorra'; did you mean 'dora'?",
    ),
    "a number in words": (
        ("build", "TEXT", "--set", "training.steps=two"),
        "lmworks: training.steps is 'two'; it should be a whole number",
    ),
    "a penalty without groups": (
        ("generate", "MODEL", "Hi", "--beams", "4", "--diversity-penalty", "1"),
        "--beam-groups and --diversity-penalty go together",
    ),
    "an index that is not there, before the model is looked for": (
        ("serve", "no-model", "--port", "0", "--index", "nowhere"),
        "nowhere holds no index; make one",
    ),
    "an index and none, before the model is looked for": (
        ("serve", "no-model", "--port", "0", "--index", "nowhere", "--no-index"),
        "--index and --no-index say opposite things",
    ),
    "an unknown claim": (("lab", "999"), "999"),
    "the page of an unknown claim": (("lab", "999", "--open", "--export", "site"), "there is no claim 999"),
    "an unknown scale": (("lab", "23", "--scale", "huge"), "huge"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(
    run, mistake, model_folder, translator_folder, text_folder, recipe, tmp_path, monkeypatch
):
    arguments, words = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": model_folder, "TEXT": text_folder, "RECIPE": recipe, "TRANSLATOR": translator_folder}
    for name in {"PIPE", "PIPE.toml"}.intersection(arguments):
        os.mkfifo(name)
    ran = run(*(places.get(one, one) for one in arguments))
    (sentence,) = [line for line in ran.err.splitlines() if line.startswith("lmworks: ")]
    assert ran.code == 1 and words in sentence and ran.err.splitlines()[-1] == sentence
    assert "Traceback" not in ran.err and not ran.out


def test_an_option_that_does_not_exist_is_a_mistake_in_the_command(run, model_folder):
    ran = run("generate", model_folder, "Hi", "--temprature", "1")
    assert ran.code == 2 and "--temperature" in ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("tune", "m", "--data", "d", "--steps", "5"), "--steps is a setting of the recipe: --set training.steps=..."),
        (("train", "r", "--lr", "1"), "--lr is a setting of the recipe: --set training.learning_rate=..."),
        (("distill", "m", "--num_train_epochs=2"), "--set training.epochs=..."),
        (("tune", "m", "--data", "d", "--rank", "4"), "--set lora.rank=..."),
        (("tune", "m", "--data", "d", "--nonsense", "4"), "No such option: --nonsense"),
    ],
)
def test_an_option_that_is_a_setting_is_told_as_one(run, command, told):
    ran = run(*command)
    assert ran.code == 2 and told in ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize("rank", [False, True])
def test_what_was_stopped_names_the_command_that_goes_on(run, rank, text_folder, tmp_path, monkeypatch):
    def stopped(*given, **named):
        raise Stopped("stopped after step 3 of 6; go on with the same command and --resume", resume=True)

    monkeypatch.setattr("lmworks.jobs.tune.build", stopped)  # first: tune imports build, and must find the real one
    monkeypatch.setattr("lmworks.jobs.build.build", stopped)
    if rank:
        monkeypatch.setenv("WORLD_SIZE", "2")
    for verb, more in (("build", [text_folder]), ("tune", ["smollm2", "--data", text_folder])):
        typed = [verb, *more, "--out", str(tmp_path / "my model")]
        for ran in (run(*typed), run(*typed, "--resume")):
            told, *following = ran.err.splitlines()
            assert ran.code == 130 and told.startswith("lmworks: stopped after step 3 of 6")
            again = f"next    lmworks {shlex.join([*typed, '--resume'])}"
            assert following == ([] if rank else [again])
