"""The command line as its users meet it: help, answers, tables that say the same as --json."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

import lmworks as lm
from lmworks.adaptation.lora import LoRAConfig, add_lora
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics.amounts import size
from lmworks.basics.meanings import meanings
from lmworks.cli.options import table
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.constraints import Choice, JsonSchema, Regex
from lmworks.generation.guessing import Lookup
from lmworks.generation.strategies import Beam, Contrastive, Greedy, Sample
from lmworks.language_model import LanguageModel
from lmworks.models.files.compressed import Compression
from lmworks.models.files.directory import write_network

VERBS = (
    "build",
    "corpus",
    "train",
    "sweep",
    "plan",
    "tokens",
    "index",
    "search",
    "models",
    "generate",
    "chat",
    "evaluate",
    "check",
    "compress",
    "export",
    "lab",
    "explain",
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run, verb: str):
    shown = run(verb, "--help")
    assert shown.code == 0 and "Usage: lmworks" in shown.out and not shown.err


def test_the_help_names_every_verb(run):
    shown = run("--help")
    assert shown.code == 0 and all(f"  {verb} " in shown.out for verb in VERBS)


def test_the_version(run):
    import lmworks

    assert run("--version").out == f"{lmworks.__version__}\n"


@pytest.mark.parametrize(
    "program",
    [
        "import lmworks",
        "import sys; sys.argv[1:] = ['--help']\nfrom lmworks.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
)
def test_importing_and_help_load_no_heavy_package(program: str):
    report = "\nimport sys; print('heavy:', sorted({'torch', 'numpy', 'tokenizers', 'gguf'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program + report], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "heavy: []"


MISTAKEN = (
    ("train", "shakespeare-char"),
    ("plan", "shakespeare-char"),
    ("sweep", "shakespeare-char", "--space", "none.toml", "--trials", "2"),
    ("build", "notes"),
    ("prefer", "base", "--data", "pairs.jsonl"),
    ("distill", "smollm2", "--layers", "3", "--data", "notes"),
)


@pytest.fixture(scope="module")
def mistaken() -> dict[str, tuple[str, bool]]:
    """What each verb says of a misspelt setting, and whether torch is loaded then: one process for all, in their
    order."""
    program = """
import contextlib, io, json, sys
from lmworks.cli import main
found = {}
for words in json.loads(sys.argv[1]):
    sys.argv[1:], said = [*words, "--set", "training.stepz=1"], io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(said):
        main()
    found[words[0]] = said.getvalue(), "torch" in sys.modules
print(json.dumps(found))
"""
    command = [sys.executable, "-c", program, json.dumps(MISTAKEN)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("verb", [words[0] for words in MISTAKEN])
def test_a_mistake_in_a_recipe_is_told_before_torch_is_loaded(mistaken: dict[str, tuple[str, bool]], verb: str):
    """Which takes two seconds."""
    said, torch_is_loaded = mistaken[verb]
    assert said == "lmworks: training.stepz is not a setting; did you mean training.steps?\n"
    assert not torch_is_loaded


def test_models_as_a_table_and_as_json(run):
    facts, table, after = run("models", "--json").json, run("models").out, run("models", "--json").json
    while facts != after:  # another test has fetched one
        facts, table, after = after, run("models").out, run("models", "--json").json
    assert {"name", "what", "bytes", "licence", "cached", "path", "runs"} == set(facts[0])
    for one in facts:
        assert one["name"] in table and one["licence"] in table and one["what"] in table
        assert (one["runs"] or "") in table and one["cached"] == (one["runs"] is not None)
        assert (one["path"] or "not yet") in table and f"{one['bytes'] / 1e6:.0f} MB" in table


def test_a_row_of_a_table_is_one_line_on_a_pipe_however_long_its_cells(capsys):
    table(["model", "here"], [["words " * 40, "/path" * 50], ["b", "c"]])
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.split() == ["model", "here"] and third.split() == ["b", "c"]
    assert "words " * 39 in second and "/path" * 50 in second


FLOATS = "in PyTorch, as its weights are not in few bits; compiled with --compress int4, int8 or bf16"
RUNS: dict[str, tuple[dict[str, object], Compression | None, str]] = {
    "few bits": ({}, Compression(4), "compiled, in the bits of its file"),
    "16 bits": ({}, None, FLOATS),
    "an encoder": ({"arrangement": "encoder", "family": "lmworks"}, None, "embeds compiled, in 8 bits"),
    "small heads": ({"head_dim": 8}, Compression(8), "in PyTorch: the compiled path has heads in steps of 16"),
    "two stacks": (
        {"arrangement": "encoder-decoder", "family": "lmworks"},
        None,
        FLOATS,
    ),
}


@pytest.mark.parametrize("kind", RUNS)
def test_models_says_what_runs_a_model_and_why_not_the_compiled_path(run, kind: str, tmp_path: Path):
    pytest.importorskip("numba")
    settings, compression, words = RUNS[kind]
    model = tiny.language_model(**{"dim": 64, "heads": 4, "head_dim": 16, "hidden_dim": 96} | settings)
    write_network(tmp_path, model.network, compression=compression)
    model.write_tokenizer(tmp_path)
    facts = run("models", str(tmp_path), "--json").json
    assert words in facts["runs"] and facts["parameters"] == sum(one.numel() for one in model.network.parameters())
    loaded = lm.load(tmp_path)  # and so it is
    if kind == "an encoder":
        loaded.embed(["a cat"])
    assert facts["compiled"] == ("compiled" in (loaded.runner.name, loaded._embeds_with().name))
    shown = run("models", str(tmp_path)).out
    assert facts["runs"] in shown and facts["family"] in shown


def test_models_says_that_one_classifies_or_cannot_be_loaded(run, tmp_path: Path):
    labels = tuple(f"kind {number}" for number in range(12))
    tiny.language_model(arrangement="encoder", family="lmworks", labels=labels).save(tmp_path / "m")
    done = run("models", str(tmp_path / "m"))
    assert "classifies as kind 0, kind 1, " in done.out and "kind 9, ... 12 classes in all (lmworks cl" in done.out
    assert run("models", str(tmp_path / "m"), "--json").json["classes"] == list(labels) and done.code == 0
    (tmp_path / "m" / "tokenizer.json").unlink()
    for more in ((), ("--json",)):
        done = run("models", str(tmp_path / "m"), *more)
        assert "has no tokenizer.json" in done.out and done.code == 1


@pytest.mark.parametrize("kind", ["few bits", "16 bits", "small heads"])
def test_an_adapter_runs_as_its_base_does(run, kind: str, tmp_path: Path):
    pytest.importorskip("numba")
    settings, compression, words = RUNS[kind]
    model = tiny.language_model(**{"dim": 64, "heads": 4, "head_dim": 16, "hidden_dim": 96} | settings)
    for name in ("base", "adapter"):
        (tmp_path / name).mkdir()
    write_network(tmp_path / "base", model.network, compression=compression)
    model.write_tokenizer(tmp_path / "base")
    add_lora(model.network, LoRAConfig(rank=2))
    write_adapter(tmp_path / "adapter", model.network, str(tmp_path / "base"))
    facts = run("models", str(tmp_path / "adapter"), "--json").json
    assert words in facts["runs"]
    assert facts["compiled"] == (lm.load(tmp_path / "adapter").runner.name == "compiled")


def test_generate_prints_the_text_that_json_holds(run, model_folder):
    options = ("generate", model_folder, "Once", "--max-new-tokens", "9")
    facts = run(*options, "--json").json
    assert run(*options).out == facts["text"] + "\n"
    assert facts["finish"] == "length" and len(facts["tokens"]) == 9 == len(facts["logprobs"])
    assert facts["seed"] is None and facts["prompt_tokens"] == 4 and facts["order"] == ["most probable"]


def test_compress_chooses_what_runs_the_network(run, tmp_path, text_folder):
    pytest.importorskip("numba")
    folder = str(tiny.language_model(dim=64, heads=4, head_dim=16, hidden_dim=96, context=512).save(tmp_path / "small"))
    options = ("generate", folder, "Once", "--max-new-tokens", "9", "--json")
    plain, none, eight = (run(*options, *more).json for more in ((), ("--compress", "none"), ("--compress", "int8")))
    assert plain["logprobs"] == none["logprobs"] != eight["logprobs"]
    assert eight["logprobs"][0] == pytest.approx(plain["logprobs"][0], rel=0.05)
    bits = [
        run("evaluate", folder, text_folder, "--json", *more).json["measurements"][0]["value"]
        for more in ((), ("--compress", "int8"))
    ]
    assert bits[0] != bits[1] == pytest.approx(bits[0], rel=0.01)


def test_generate_answers_a_message_with_chat(run, model_folder):
    plain, chat = (
        run("generate", model_folder, "Hi", *option, "--max-new-tokens", "5", "--json").json
        for option in ((), ("--chat",))
    )
    assert plain["prompt_tokens"] == 2 and chat["prompt_tokens"] > 20


def test_sampling_options_are_shown_in_their_order_and_a_seed_repeats(run, model_folder):
    drawing = ("--temperature", "0.9", "--top-k", "20", "--top-p", "0.9", "--min-p", "0.01", "--max-new-tokens", "12")
    options = ("generate", model_folder, "Once", *drawing)
    first, second, other = (run(*options, "--seed", seed, "--json").json for seed in ("3", "3", "4"))
    assert first["order"] == ["temperature 0.9", "top_k 20", "top_p 0.9", "min_p 0.01"] and first["seed"] == 3
    assert first["tokens"] == second["tokens"] != other["tokens"]
    drawn = run(*options, "--json").json  # a seed of its own, which repeats it
    assert run(*options, "--seed", str(drawn["seed"]), "--json").json["tokens"] == drawn["tokens"]


WRITTEN = {  # options of generate -> what model.generate takes for the same answer
    "typical": (
        ("--temperature", "0.9", "--top-k", "40", "--typical-p", "0.8", "--seed", "3"),
        {"strategy": Sample(temperature=0.9, top_k=40, typical_p=0.8, seed=3)},
    ),
    "penalties": (
        ("--repetition-penalty", "1.3", "--frequency-penalty", "0.5", "--presence-penalty", "1"),
        {"strategy": Greedy(repetition_penalty=1.3, frequency_penalty=0.5, presence_penalty=1.0)},
    ),
    "bias": (
        ("--logit-bias", "97=100", "--logit-bias", "98=-100", "--min-new-tokens", "3", "--seed", "1"),
        {"strategy": Sample(seed=1, logit_bias={97: 100.0, 98: -100.0}, min_new_tokens=3)},
    ),
    "groups": (
        ("--beams", "4", "--beam-groups", "2", "--diversity-penalty", "0.5", "--early-stopping", "never"),
        {"strategy": Beam(width=4, groups=2, diversity_penalty=0.5, early_stopping="never")},
    ),
    "contrastive": (("--contrastive", "0.5", "--top-k", "3"), {"strategy": Contrastive(alpha=0.5, top_k=3)}),
    "schema": (
        ("--schema", '{"enum": ["ab", 12]}'),
        {"strategy": None, "constraint": JsonSchema({"enum": ["ab", 12]})},
    ),
    "regex": (("--regex", "[ab]{4}c"), {"strategy": None, "constraint": Regex("[ab]{4}c")}),
    "choice": (
        ("--choice", "north", "--choice", "south", "--seed", "2"),
        {"strategy": Sample(seed=2), "constraint": Choice(["north", "south"])},
    ),
    "lookup": (("--lookup", "--most-guessed", "3"), {"strategy": None, "guess": Lookup(most=3)}),
    "slide": (("--window", "slide", "--max-new-tokens", "600"), {"strategy": None, "window": "slide"}),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_generate_writes_what_the_same_settings_write_in_python(run, model_folder, what):
    options, said = WRITTEN[what]
    longest = 600 if what == "slide" else 24
    written = run("generate", model_folder, "Once", "--max-new-tokens", "24", *options, "--json").json
    model = LanguageModel.load(model_folder)
    answer = model.generate("Once", max_new_tokens=longest, **said)
    assert written["tokens"] == answer.tokens and written["slid"] == answer.slid == (what == "slide")
    assert written["order"] == list((said["strategy"] or Greedy()).order)
    plain = model.generate("Once", max_new_tokens=longest)
    assert what in ("lookup", "slide") or plain.tokens != answer.tokens  # the option did something
    assert run("generate", model_folder, "Once", "--max-new-tokens", "24", *options).out == answer.text + "\n"


def test_generate_takes_a_schema_from_a_file_and_a_draft(run, model_folder, tmp_path):
    (tmp_path / "city.json").write_text('{"enum": ["Rome"]}')
    assert run("generate", model_folder, "Once", "--schema", str(tmp_path / "city.json")).out == '"Rome"\n'
    plain, drafted = (
        run("generate", model_folder, "Once", "--max-new-tokens", "20", *options).out
        for options in ((), ("--draft", model_folder, "--most-guessed", "2"))
    )
    assert plain == drafted


def test_a_stretched_model_reads_further(run, model_folder):
    long = "x" * 600
    assert run("generate", model_folder, long, "--max-new-tokens", "2").code == 1
    assert run("generate", model_folder, long, "--max-new-tokens", "2", "--rope-scaling", "linear:2").code == 0


def test_an_answer_that_the_window_cuts_says_so(run, model_folder, monkeypatch):
    cut = "the end of the window cut the answer: the model reads 512 tokens"
    long, short = "x" * 500, "x" * 400
    ran = run("generate", model_folder, long)
    assert ran.err.count("\n") == 1 and cut in ran.err and "--window slide" in ran.err and cut not in ran.out
    for options in (("--window", "slide"), ("--max-new-tokens", "12")):  # no more was asked for, or it went on
        assert cut not in run("generate", model_folder, long, *options).err
    assert json.loads(run("generate", model_folder, long, "--json").out)["finish"] == "window"
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{short}\n\n{long}\n"))
    assert f"line 3: {cut}" in run("generate", model_folder, "-", "--lines", "--max-new-tokens", "20").err


def test_the_help_of_generate_is_in_groups(run):
    shown = run("generate", "--help").out
    headings = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings[:2] == ["Arguments:", "Options:"] and "The form of the answer:" in headings and len(headings) == 10
    assert shown.index("The form of the answer:") < shown.index("--regex") < shown.index("--lookup")


def test_generate_ends_before_a_stop_string(run, model_folder):
    options = ("generate", model_folder, "Once", "--max-new-tokens", "20")
    whole = run(*options, "--json").json["text"]
    stop = whole[8:10]
    stopped = run(*options, "--stop", stop, "--stop", "never this", "--json").json
    assert stopped["text"] == whole.partition(stop)[0] and stopped["finish"] == "stop"
    assert run(*options, "--stop", stop).out == stopped["text"] + "\n"


def test_generate_reads_a_prompt_from_standard_input(run, model_folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Once"))
    piped = run("generate", model_folder, "-", "--max-new-tokens", "5").out
    assert piped == run("generate", model_folder, "Once", "--max-new-tokens", "5").out


def test_generate_wants_a_prompt_or_an_image(run, model_folder):
    found = run("generate", model_folder)
    assert found.code == 1 and "say what to go on from: lmworks generate MODEL" in found.err


def test_generate_makes_a_target_of_a_source_with_beams(run, translator_folder):
    options = ("generate", translator_folder, "Guten Tag", "--max-new-tokens", "8")
    greedy, beams = (run(*options, *more, "--json").json for more in ((), ("--beams", "3", "--length-penalty", "0.5")))
    assert greedy["prompt_tokens"] == len("Guten Tag") + 1 and "score" not in greedy
    assert greedy["order"] == ["most probable"] and beams["order"] == ["the best of 3 beams"]
    assert len(beams["others"]) == 2 and beams["score"] >= beams["others"][0]["score"] >= beams["others"][1]["score"]
    assert beams["score"] == pytest.approx(sum(beams["logprobs"]) / 8**0.5, abs=1e-4)
    assert run(*options, "--beams", "3", "--length-penalty", "0.5").out == beams["text"] + "\n"
    once = run(*options, "--no-repeat-ngram", "1", "--json").json
    assert len(set(once["tokens"])) == 8 and once["order"] == ["no_repeat_ngram 1", "most probable"]


def test_generate_writes_a_line_for_each_line(run, model_folder, translator_folder, monkeypatch):
    for folder in (model_folder, translator_folder):
        texts = [f"line {number}" for number in range(20)]
        texts[3] = ""
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(texts) + "\n"))
        written = run("generate", folder, "-", "--lines", "--max-new-tokens", "4", "--beams", "2").out
        assert written.count("\n") == 20 and written.split("\n")[3] == ""
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(texts) + "\n"))
        facts = run("generate", folder, "-", "--lines", "--max-new-tokens", "4", "--beams", "2", "--json").out
        each = [json.loads(line) for line in facts.removesuffix("\n").split("\n")]
        assert each[3] is None and len(each) == 20
        alone = run("generate", folder, texts[17], "--max-new-tokens", "4", "--beams", "2", "--json").json
        assert each[17]["tokens"] == alone["tokens"]


def test_of_a_text_to_measure_a_conversation_that_the_template_refuses_is_left_out_and_named(run, tmp_path):
    tiny.language_model(context=160).save(tmp_path / "strict")
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('Start with the user.') }}{% endif %}"
    (tmp_path / "strict" / "chat_template.jinja").write_text(refusing + tiny.CHATML)
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    (tmp_path / "chats.jsonl").write_text("\n".join(json.dumps({"messages": one}) for one in (turns, turns[1:])))
    ran = run("evaluate", str(tmp_path / "strict"), str(tmp_path / "chats.jsonl"), "--json")
    assert ran.json["documents"] == 1
    assert "skipped   chats.jsonl: 1 conversation that cannot be learnt; the first: chats.jsonl#1: the chat" in ran.err


def test_evaluate_as_a_table_and_as_json(run, model_folder, text_folder):
    ran = run("evaluate", model_folder, text_folder, "--json")
    facts = ran.json
    (figure,) = facts["measurements"]
    assert figure["unit"] == "bits/byte" and figure["ideal"] == 0 and figure["chance"] == 8 and figure["n"] >= 1
    assert facts["documents"] == 6 and facts["bytes"] == facts["tokens"]  # a token is a byte here
    assert "skipped   picture.png" in ran.err
    table = run("evaluate", model_folder, text_folder).out
    assert f"{facts['tokens']:,}" in table and f"{figure['value']:.2f}" in table


@pytest.mark.parametrize(
    "what", ["build", "space", "model", "recurrent", "sample", "compress", "export", "top_p", "lora"]
)
def test_explain_as_a_table_and_as_json(run, what):
    facts, table = run("explain", what, "--json").json, run("explain", what).out
    words = set(table.split())
    assert facts and all(meaning for meaning in facts.values())
    for name, meaning in facts.items():
        assert name in table and set(meaning.split()) <= words


def test_every_setting_of_a_strategy_is_an_option(run):
    """Declared once: what a filter's file declares is an option without another line."""
    shown, names = run("generate", "--help").out, {"width": "beams", "groups": "beam-groups", "alpha": "contrastive"}
    for kind in (Sample, Beam, Contrastive):
        for name, meaning in meanings(kind).items():
            assert f"--{names.get(name, name).replace('_', '-')} " in shown
            assert meaning and (kind is Contrastive or meaning[:30] in " ".join(shown.split()))


@pytest.mark.parametrize(
    "asked, words",
    [
        (("lab", "foo"), "Invalid value for 'questions': 'foo' is not a whole number"),
        (("generate", "x", "Hi", "--max-new-tokens", "2.5"), "for '--max-new-tokens': '2.5' is not a whole number"),
        (("generate", "x", "Hi", "--temperature", "hot"), "for '--temperature': 'hot' is not a number"),
    ],
)
def test_a_number_that_is_none_is_named(run, asked, words):
    ran = run(*asked)
    assert ran.code == 2 and words in ran.err and "parse string" not in ran.err


def test_explain_knows_the_words_of_the_glossary(run):
    assert run("explain", "Perplexity", "--json").json["perplexity"].startswith("e to the loss")
    assert list(run("explain", "epoch", "--json").json) == ["step, epoch"]
    assert run("explain", "kv cache").out.startswith("word ")
    assert list(run("explain", "beam-search", "--json").json) == ["beam search"]
    both = run("explain", "temperature", "--json").json
    assert both["temperature"] and both["temperature (sample)"]
    assert "did you mean 'perplexity'?" in run("explain", "perplexitty").err


def test_explain_knows_a_setting_by_its_name_alone(run):
    found = run("explain", "temperature", "--json").json
    assert found["temperature (sample)"].startswith("Divides the logits")
    [(steps, meaning)] = run("explain", "training.steps", "--json").json.items()
    assert steps.startswith("training.steps (build, distill, ") and meaning.startswith("Optimiser steps")
    assert run("explain", "Top-K").out == run("explain", "top_k").out
    error = run("explain", "temprature").err
    assert error == (
        "lmworks: explain does not know 'temprature'; did you mean 'temperature'? lmworks explain lists what it knows\n"
    )


def test_explain_knows_every_verb_setting_and_part(run):
    for what, named in run("explain", "--json").json.items():
        meanings = run("explain", what, "--json").json
        assert named and meanings and all(meanings.values()), what
    assert "--set" in run("explain", "build", "--json").json  # a verb: its options, then its recipe
    assert "data.text" in run("explain", "build", "--json").json


@pytest.mark.parametrize("verb", ["compress", "export"])
def test_explain_knows_a_verb_by_the_options_of_its_help(run, verb):
    facts, shown = run("explain", verb, "--json").json, " ".join(run(verb, "--help").out.split())
    assert {"model", "--json"} < set(facts) and len(facts) == shown.count(" --")  # --help for model
    for name, meaning in facts.items():
        assert name == "model" or name in shown
        assert meaning in shown


def test_check_as_a_table_and_as_json(run, model_folder, text_folder):
    ran = run("check", model_folder, "--data", text_folder, "--json")
    facts = ran.json
    assert ran.code == 0 and facts["failed"] == 0
    table = run("check", model_folder, "--data", text_folder)
    assert table.code == 0
    for one in facts["checks"]:
        (line,) = (line for line in table.out.splitlines() if line.startswith(one["name"]))
        assert one["status"] in line and all(str(number) in line for number in one["pitfalls"])
    assert f"{sum(one['status'] == 'ok' for one in facts['checks'])} ok, 0 FAILED" in table.out
    assert "picture.png" in table.out


def test_check_exits_with_1_and_says_where_when_something_fails(run, tmp_path):
    import tiny

    model = tiny.language_model(seed=4)
    model.tokenizer.vocabulary.backend.pre_tokenizer = tiny.pre_tokenizers.Sequence(
        [tiny.pre_tokenizers.WhitespaceSplit(), tiny.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model.save(tmp_path / "broken")
    ran = run("check", str(tmp_path / "broken"))
    assert ran.code == 1 and "FAILED" in ran.out and "which becomes 'a'" in ran.out
    facts = run("check", str(tmp_path / "broken"), "--json")
    assert (
        facts.code == 1 and facts.json["failed"] == sum(one["status"] == "FAILED" for one in facts.json["checks"]) > 0
    )


@pytest.mark.parametrize("kind", ["text", "tokenizer", "shards", "recipe"])
def test_check_says_what_it_was_given(run, kind: str, text_folder, tmp_path):
    from lmworks.text.sources import read
    from lmworks.tokens.shards import write_shards
    from lmworks.tokens.tokenizer import Tokenizer

    run("tokens", "train", text_folder, "--kind", "byte", "--out", str(tmp_path / "bytes"))
    write_shards(read(text_folder).documents, Tokenizer.load(tmp_path / "bytes"), tmp_path / "shards")
    (tmp_path / "mine.toml").write_text(
        f"[data]\ntext = '{text_folder}'\n[tokenizer]\nkind = 'byte'\n"
        "[model]\ndim = 16\nlayers = 1\nheads = 2\ncontext = 16\n[training]\nrows = 2\nsteps = 5\n"
    )
    places = {"text": text_folder, "tokenizer": "bytes", "shards": "shards", "recipe": "mine.toml"}
    what = (str(tmp_path / places[kind]), *(("--data", str(tmp_path / "shards")) if kind == "tokenizer" else ()))
    facts, table = run("check", *what, "--json"), run("check", *what)
    assert facts.code == table.code == 0, table.out + table.err
    assert (facts.json["kind"], facts.json["what"], facts.json["failed"]) == (kind, what[0], 0)
    assert len(facts.json["checks"]) >= 3 and f"{kind} {what[0]}: " in table.out
    for one in facts.json["checks"]:
        assert any(line.startswith(one["name"]) and one["status"] in line for line in table.out.splitlines()), one


def test_check_of_a_text_with_copies_exits_with_1(run, text_folder):
    from pathlib import Path

    Path(text_folder, "copy.txt").write_text(Path(text_folder, "0.txt").read_text())
    ran = run("check", text_folder)
    assert ran.code == 1 and "copy.txt repeats 0.txt" in " ".join(ran.out.split())


def test_lab_lists_the_claims_as_a_table_and_as_json(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # results of one's own, in ./lab-results, go before the shipped ones
    table, facts = run("lab").out, run("lab", "--json").json
    assert len(facts) >= 6
    words = " ".join(table.split())
    for one in facts:
        assert str(one["question"]) in words and one["found"].split()[0] in words
        assert one["scale"] is None or ("/results" in one["from"] and one["scale"] in ("quick", "full"))


def test_lab_lists_the_others_where_one_result_cannot_be_read(run, tmp_path):
    (tmp_path / "q23.quick.json").write_text('{"version": 2')
    facts = {one["question"]: one for one in run("lab", "--json", "--out", str(tmp_path)).json}
    assert "is not a stored finding" in facts[23]["found"] and "is not" not in facts[32]["found"]


def test_lab_shows_a_stored_result_and_runs_nothing(run, tmp_path):
    shown = run("lab", "32", "--show")
    assert shown.code == 0 and "interval" in shown.out and "yes: " in shown.out
    assert run("lab", "32", "--show", "--json").json["question"] == 32
    kept = run("lab", "12", "--show").out  # figures that the chart draws are not written out below it once more
    assert "and the 36 points of the chart" in kept and "kept, top-k 3" not in kept and "least" in kept
    assert "tokens kept, top-k 3" in run("lab", "12", "--show", "--json").out


@pytest.fixture
def before_each_claim(tmp_path, monkeypatch):
    """Code that every process of a run of several claims begins with; `sys.orig_argv` tells which claim it is."""

    def begin(code: str) -> None:
        (tmp_path / "begin").mkdir(exist_ok=True)
        (tmp_path / "begin" / "sitecustomize.py").write_text(f"import os, signal, sys, time\n{code}\n")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "begin"), *filter(None, sys.path)]))

    return begin


def test_lab_runs_several_claims_keeps_what_it_has_and_goes_on_after_those_that_fail(run, tmp_path, before_each_claim):
    folder = tmp_path / "mine"
    first = run("lab", "23", "--out", str(folder), "--set", "rows=4", "--set", "keys=8")
    assert {one.name for one in folder.iterdir()} == {"q23.quick.json", "q23.quick.items.jsonl.gz", "q23.quick.png"}
    assert first.code == 0 and (folder / "q23.quick.json").is_file() and (folder / "q23.quick.png").is_file()
    assert [one["from"] for one in run("lab", "--json", "--out", str(folder)).json if one["question"] == 23] == [
        str(folder)
    ]
    before_each_claim(
        "if '25' in sys.orig_argv: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if '32' in sys.orig_argv: sys.modules['lmworks.lab.experiments.q32_attention'] = None"
    )
    several = run("lab", "32", "25", "23", "--out", str(folder))
    assert several.code == 1 and several.err.endswith("lmworks: 2 of 3 claims were not measured; the table says why\n")
    assert [several.err.splitlines().count(f"claim {one}") for one in (32, 25, 23)] == [1, 1, 1]
    words = " ".join(several.out.split())
    assert "32 not measured: ModuleNotFoundError: import of lmworks.lab.experiments.q32_attention halted" in words
    assert "25 not measured: killed by signal 9" in words and "23 4 of 5 parts hold, 1 fails" in words
    assert {one.name for one in folder.glob("*.json")} == {"q23.quick.json"}
    before = (folder / "q23.quick.json").read_bytes()
    again = run("lab", "23", "--resume", "--out", str(folder))
    assert again.code == 0 and (folder / "q23.quick.json").read_bytes() == before


def test_lab_judges_a_stored_result_again_and_says_what_was_edited(run, tmp_path):
    assert run("lab", "23", "--out", str(tmp_path), "--set", "rows=4", "--set", "keys=8").code == 0
    again = run("lab", "23", "--recompute", "--out", str(tmp_path))
    assert again.code == 0 and again.err == "claim 23: every part is as stored\n" and "yes: " in again.out
    path = tmp_path / "q23.quick.json"
    path.write_text(path.read_text().replace('"verdict": "holds"', '"verdict": "fails"', 1))
    assert "its hash differs" in run("lab", "23", "--show", "--out", str(tmp_path)).err
    again = run("lab", "23", "--recompute", "--out", str(tmp_path))
    assert "its hash differs" in again.err and "some differ" in again.err
    (tmp_path / "q23.quick.items.jsonl.gz").write_bytes(b"\x1f\x8b")
    cut = run("lab", "23", "--recompute", "--out", str(tmp_path))
    assert cut.code == 1 and cut.err.splitlines()[-1].startswith(f"lmworks: {tmp_path}/q23.quick.items.jsonl.gz cannot")


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM"])
def test_lab_that_is_interrupted_leaves_what_it_has_and_no_process(run, tmp_path, before_each_claim, end: str):
    folder, number = tmp_path / "mine", tmp_path / "pid"
    number.write_text("")
    before_each_claim(
        f"if '32' in sys.orig_argv:\n    open({str(number)!r}, 'w').write(str(os.getpid()))\n"
        f"    os.kill(os.getppid(), signal.{end})\n    time.sleep(600)"
    )
    ran = run("lab", "23", "32", "25", "--out", str(folder))
    assert ran.code == 130 and "lmworks: stopped in claim 32; what was measured before is kept: go on with" in ran.err
    assert {one.name for one in folder.glob("*.json")} == {"q23.quick.json"}
    with contextlib.suppress(ChildProcessError):  # of one that was waited for
        while not os.waitpid(int(number.read_text()), os.WNOHANG)[0]:
            time.sleep(0.1)


def test_lab_resumes_with_the_parameters_that_are_asked_for(run, tmp_path):
    """A result of others is none of this run, and one of these is."""
    options = ("lab", "23", "--resume", "--out", str(tmp_path), "--json")
    few, more = (("--set", f"rows={rows}", "--set", "keys=8") for rows in (4, 6))
    first, other = run(*options, *few).json, run(*options, *more).json
    assert (first["recipe"]["rows"], other["recipe"]["rows"]) == (4, 6)
    written = (tmp_path / "q23.quick.json").stat().st_mtime_ns
    assert run(*options, *more).json == other and (tmp_path / "q23.quick.json").stat().st_mtime_ns == written
    (tmp_path / "q23.quick.json").write_text('{"question": 23')
    for asked in (options, (*options, *few), ("lab", "23", "--show", "--out", str(tmp_path))):
        ran = run(*asked)
        assert ran.code == 1 and ran.out == ""
        assert ran.err.startswith(f"lmworks: {tmp_path}/q23.quick.json is not a stored finding (")
        assert ran.err.count("\n") == 1


def test_lab_shows_the_scale_that_is_asked_for_and_all_that_there_is(run, tmp_path, monkeypatch):
    from lmworks.lab import store

    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    for question in ("23", "32"):
        ran = run("lab", question, "--out", str(tmp_path), "--seeds", "2", *(("--set", "rows=4") * (question == "23")))
        assert ran.code == 0, ran.err
    shown = run("lab", "--all", "--show", "--out", str(tmp_path), "--json")
    assert [one["question"] for one in shown.json] == [23, 32]
    assert shown.err.startswith("not stored: 1, 2, ") and "; run one: lmworks lab 1" in shown.err
    assert run("lab", "23", "--show", "--scale", "quick", "--out", str(tmp_path)).code == 0
    full = run("lab", "23", "--show", "--scale", "full", "--out", str(tmp_path))
    assert full.err == "lmworks: claim 23 has no stored result of scale full; run it: lmworks lab 23 --scale full\n"


MISASKED = [
    ("--all", "--set", "rows=3"),
    ("--seeds", "4"),
    ("23", "--pilot", "--store"),
    ("23", "--recompute", "--resume"),
    ("23", "--show", "--recompute"),
    ("23", "--markdown", "page.md"),
    ("23", "--show", "--json", "--markdown", "page.md"),
    ("--show",),
    ("--store",),
    ("--scale", "full"),
    ("23", "32", "--set", "rows=4"),
    ("23", "--show", "--set", "rows=4"),
    ("23", "--show", "--resume"),
    ("23", "--show", "--scale", "half"),
    ("23", "--all"),
]


@pytest.mark.parametrize("arguments", MISASKED, ids=" ".join)
def test_lab_that_is_asked_what_cannot_be_says_so(run, arguments):
    ran = run("lab", *arguments)
    assert ran.code == 1 and "Traceback" not in ran.err and ran.err.startswith("lmworks: ")


def test_export_writes_a_file_that_the_other_verbs_read(run, tmp_path):
    from jobs.small_files import language_model

    folder, file = str(language_model().save(tmp_path / "model")), str(tmp_path / "m.gguf")
    facts = run("export", folder, "--to", "gguf", "--type", "q8_0", "--out", file, "--json").json
    assert facts["file"] == file and facts["type"] == "q8_0" and not facts["merged"] and facts["unquantised"] == []
    assert facts["bytes"] == (tmp_path / "m.gguf").stat().st_size
    shown = run("export", folder, "--type", "q8_0", "--out", file)  # replaces its own
    assert shown.code == 0 and f"saved   {file} ({size(facts['bytes'])}, q8_0)" in shown.out
    assert run("generate", file, "the model", "--max-new-tokens", "4").out


def test_compress_as_a_table_and_as_json(run, model_folder, text_folder, tmp_path):
    options = ("compress", model_folder, "--bits", "8", "--text", text_folder, "--out", str(tmp_path / "small"))
    facts = run(*options, "--json").json
    assert facts["bytes_after"] < facts["bytes_before"] and len(facts["measurements"]) == 3
    shown = run(*options).out
    assert size(facts["bytes_after"]) in shown and str(tmp_path / "small") in shown
    assert all(Measurement.from_json(one).figure in shown for one in facts["measurements"])
    assert run("generate", str(tmp_path / "small"), "Once", "--max-new-tokens", "4").code == 0
