"""The benches: scripts that compute what our model computes, stored examples that are its own, and words for all."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmworks.basics.config import read_toml
from lmworks.evaluation.privacy.canaries import CHANCE
from lmworks.generation.strategies import Beam, Sample
from lmworks.inside.heads import attention_patterns
from lmworks.kernels.packing import quantised
from lmworks.lab.site import words
from lmworks.lab.site.benches import declaration, stories
from lmworks.lab.site.benches.declaration import Bench, benches, script_of
from lmworks.lab.site.benches.kinds.quantisation import rounded
from lmworks.lab.site.benches.stories import pieces_of
from lmworks.lab.site.claims import claims, themes
from lmworks.lab.site.pages import files
from lmworks.lab.site.words import Words, languages

KINDS = benches()
LIVE = [one for one in KINDS.values() if one.live]
TEXTS = ("Once upon a time", "Lily saw a dog.  The dog saw Zoë & 3 naïve 🐈s", "", " \nA new line")


@pytest.fixture(scope="module")
def model():
    if why := stories.missing():
        pytest.skip(why)
    return stories.stories(fetch=False)


@pytest.fixture(scope="module")
def node(model, tmp_path_factory):
    """Runs an expression over the benches' scripts and the model, as a page would, and gives what it returns."""
    del model
    if shutil.which("node") is None:
        pytest.skip("node is not here; the browser tests run the scripts, too")
    folder = tmp_path_factory.mktemp("node")
    names = dict.fromkeys(name for one in LIVE for name in one.scripts)
    scripts = "".join((declaration.HERE / "scripts" / name).read_text(encoding="utf-8") for name in names)
    (folder / "weights.js").write_bytes(stories.script())
    before = "const benches = {}; let model; globalThis.lmworksWeights = facts => { model = llama(facts); };\n"
    load = f"eval(require('fs').readFileSync({json.dumps(str(folder / 'weights.js'))}, 'utf8'));\n"

    def run(expression: str, **given: Any) -> Any:
        file = folder / "run.js"
        say = f"const given = {json.dumps(given)};\nconsole.log(JSON.stringify({expression}));\n"
        file.write_text(before + scripts + load + say, encoding="utf-8")
        ran = subprocess.run(["node", str(file)], capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return json.loads(ran.stdout)

    return run


def test_the_page_s_llama_has_our_tokens_logits_and_patterns(node, model):
    said = node(
        """given.texts.map(text => {
            const tokens = model.encode(text), cache = model.begin(), seen = [];
            const logits = tokens.map(token => [...model.step(token, cache, seen)]);
            const patterns = seen.map(layer => layer.map(heads => heads.map(one => [...one.pattern])));
            return { tokens, logits, patterns };
        })""",
        texts=TEXTS,
    )
    for text, found in zip(TEXTS, said, strict=True):
        tokens = model.tokenizer.encode(text)
        assert found["tokens"] == tokens, text
        torch.testing.assert_close(torch.tensor(found["logits"]), model.logits([tokens])[0], rtol=1e-4, atol=1e-4)
        ours = attention_patterns(model.network, torch.tensor([tokens]))[:, 0]
        for layer, rows in enumerate(found["patterns"]):
            for at, heads in enumerate(rows):
                mine = torch.tensor(heads, dtype=torch.float32)
                torch.testing.assert_close(mine, ours[layer, :, at, : at + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 5},
        {"temperature": 1.3, "top_p": 0.8},
        {"temperature": 1.0, "top_k": 20, "top_p": 0.9, "min_p": 0.1},
        {"temperature": 0.0},
    ],
    ids=str,
)
def test_the_page_cuts_as_our_filters_do(node, model, settings):
    logits = model.logits([model.tokenizer.encode("Once upon a time, there was a")])[0, -1]
    state = {"top_k": 0, "top_p": 1, "min_p": 0, **settings}
    kept = node(
        "(({ids, p, left, mass}) => ids.slice(0, left).map((id, at) => [id, p[at] / mass]))"
        "(filtered(given.logits, given.state))",
        logits=logits.tolist(),
        state=state,
    )
    ours = Sample(**settings).distribution(logits.numpy())
    assert {token for token, _ in kept} == set(ours.nonzero()[0].tolist())
    np.testing.assert_allclose([p for _, p in kept], ours[[token for token, _ in kept]], rtol=1.3e-6, atol=1e-5)


def test_a_seed_writes_in_the_page_what_it_writes_here(node, model):
    state = {"text": "Once upon a time", "temperature": 0.9, "top_k": 0, "top_p": 0.95, "min_p": 0}
    found = node("given.seeds.map(seed => written(model, given.state, seed, 40))", seeds=[0, 7, 7], state=state)
    ours = [
        model.generate(state["text"], Sample(temperature=0.9, top_p=0.95, seed=seed), max_new_tokens=40).tokens
        for seed in (0, 7, 7)
    ]
    assert found == ours and found[1] == found[2] != found[0]


@pytest.mark.parametrize(
    ("width", "length", "penalty", "stop"),
    [(1, 8, 1.0, ""), (3, 10, 1.0, ""), (3, 12, 0.0, "."), (4, 30, 1.5, "."), (2, 20, -1.0, ".")],
)
def test_the_page_s_beams_are_ours(node, model, width, length, penalty, stop):
    """With an end that comes early and one that never comes."""
    asked = {"width": width, "length": length, "penalty": penalty}
    ends = [pieces_of(model).index(stop)] if stop else []
    found = node(
        "(model.ends.push(...given.ends), searched(model, 'The cat', given.asked).finished)", ends=ends, asked=asked
    )
    strategy = Beam(width=width, length_penalty=penalty)
    answer = model.generate("The cat", strategy, max_new_tokens=length, stop=[stop] if stop else [])
    ours = [answer, *answer.others]
    assert [one["tokens"] for one in found] == [one.tokens for one in ours]
    assert any(one.finish == "stop" for one in ours) == bool(stop)
    for one, other in zip(found, ours, strict=True):
        assert one["total"] / len(one["tokens"]) ** penalty == pytest.approx(other.score, abs=1e-3)


@pytest.mark.parametrize("bench", LIVE, ids=lambda one: one.name)
def test_what_is_stored_is_what_our_model_computes(model, bench):
    def equal(one: Any, other: Any) -> None:
        if isinstance(one, dict):
            assert one.keys() == other.keys()
            for key in one:
                equal(one[key], other[key])
        elif isinstance(one, (list, tuple)):
            assert len(one) == len(other)
            for mine, theirs in zip(one, other, strict=True):
                equal(mine, theirs)
        else:
            assert one == (pytest.approx(other, abs=2e-3) if isinstance(one, float) else other)

    equal(bench.stored, bench.example())


def test_the_stored_tree_is_the_page_s_own(node):
    stored = KINDS["beams"].stored
    asked = {"width": 3, "length": 10, "penalty": 1}
    found = node("searched(model, given.text, given.asked)", text=stored["fixed"]["text"], asked=asked)
    for mine, theirs in zip(stored["steps"], found["steps"], strict=True):
        assert [(one["tokens"], one["row"], one["fate"]) for one in mine] == [
            (one["tokens"], one["row"], one["fate"]) for one in theirs
        ]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_page_rounds_weights_as_the_stored_figures_were(node, bits):
    stored = KINDS["quantisation"].stored
    found = node(
        "benches.quantisation.live(model, given.state, {}, given.stored).bits[given.state.bits]",
        state={"text": stored["fixed"]["text"], "bits": bits},
        stored=stored,
    )
    wanted = stored["bits"][str(bits)]
    assert (found["bytes"], found["text"]) == (wanted["bytes"], wanted["text"])
    assert found["error"] == pytest.approx(wanted["error"], abs=1e-4)
    assert found["apart"] == pytest.approx(wanted["apart"], abs=2e-3)
    assert sum(abs(one - other) for one, other in zip(found["histogram"], wanted["histogram"], strict=True)) < 20


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_are_rounded_as_the_kernels_round_them(model, bits):
    weight = model.network.state_dict()["blocks.0.attention.output.weight"]
    mine, theirs = rounded(weight, bits), quantised("w", weight, bits).weights()
    assert float((mine - theirs).abs().max()) < float(weight.max() - weight.min()) / (2**bits - 1)  # a tie, at most
    # The kernels keep scales in 16 bits, which shows where steps are small.
    assert float((mine - weight).norm()) == pytest.approx(float((theirs - weight).norm()), rel=0.2)


def test_every_bench_explains_claims_that_there_are_and_is_small():
    known = {number for some in themes().values() for number in some}
    for one in KINDS.values():
        assert one.claims and set(one.claims) <= known, one.name
        assert len(gzip.compress(script_of([one]).encode())) <= 12_000, one.name
        assert len(gzip.compress(one.place.read_bytes())) <= 12_000, one.name


@pytest.mark.parametrize("bench", KINDS.values(), ids=lambda one: one.name)
def test_a_bench_has_its_words_in_every_language_and_none_is_idle(bench: Bench):
    script = "".join((declaration.HERE / "scripts" / name).read_text() for name in bench.scripts)
    python = (declaration.HERE / "kinds" / f"{bench.name}.py").read_text()
    asked = set(re.findall(r"say\.(\w+)", script)) | set(re.findall(r'say\["(\w+)"\]', python))
    asked |= {"title", "intro", *(f"control_{one.name}" for one in bench.controls)}
    for code in languages():
        held = read_toml(words.FOLDER / f"{code}.toml")[bench.words]
        assert asked <= held.keys(), code
        assert [key for key in held.keys() - asked if not named_in(script + python, key)] == [], code
        assert bench.table(bench.stored, Words.of(code)).rows


def named_in(code: str, key: str) -> bool:
    """Whether a word is asked for by a name that the code makes: of a choice, or of what is stored."""
    return bool(re.search(rf"\b{key.removeprefix('choice_')}\b", code)) or key.removeprefix("choice_").isdecimal()


def test_words_that_all_benches_share_are_said_by_the_page():
    page = (declaration.HERE / "scripts/page.js").read_text()
    page += (Path(words.__file__).parent / "templates/bench.html").read_text()
    assert [key for key in Words.of("en").group("bench") if f".{key}" not in page] == []


def page_of(name: str, alive: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[str, set[str]]:
    monkeypatch.setattr(stories, "missing", lambda fetch=False: "" if alive else "not here")
    made = files(claims())
    return made[name]().decode(), set(made)


def test_without_the_model_a_page_says_so_and_keeps_what_is_stored(monkeypatch):
    page, made = page_of("q06.html", False, monkeypatch)
    assert "was not on the machine that wrote these pages" in page and stories.FILE not in made
    assert "'self'" not in page and 'data-weights=""' in page
    assert re.search(r'name="text"[^>]* disabled', page) and not re.search(r'name="temperature"[^>]* disabled', page)
    assert "<td>61.0%</td>" in page, "the stored example is there as a table"


def test_with_the_model_a_page_names_its_file_and_allows_no_other_place(monkeypatch):
    page, made = page_of("de/q06.html", True, monkeypatch)
    assert stories.FILE in made and f'data-weights="../{stories.FILE}"' in page and " disabled" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    before, scripts = policy.split("script-src ")
    others = "base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:; "
    assert before == f"default-src 'none'; {others}"
    assert re.fullmatch(r"('sha256-[^']{44}' ){2}'self'", scripts)


def test_weights_in_llama2c_s_format_write_what_llama2c_writes(model):
    """The expected output of llama2.c's own test (test_all.py), of which this is the beginning."""
    from lmworks.generation.strategies import Greedy

    wanted = (
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw "
        "a big, red ball. She wanted to play with it, but it was too high.\nLily's mom said, \"Lily, let's go to the "
        "park.\" Lily was sad and didn't know what to do."
    )
    answer = model.generate([model.tokenizer.bos], Greedy(), max_new_tokens=120)
    assert str(answer).startswith(wanted)


def test_the_repository_holds_no_weights():
    held = [path for path in Path(declaration.HERE).rglob("*") if path.is_file() and path.stat().st_size > 60_000]
    assert held == []


def test_noise_hides_what_was_planted():
    runs = KINDS["privacy"].stored["runs"]
    assert runs[0]["noise"] == 0 and runs[0]["epsilon"] is None
    bounds = [one["epsilon"] for one in runs[1:]]
    assert bounds == sorted(bounds, reverse=True) and len(set(bounds)) == len(bounds)
    often = [one["exposure"][-1] for one in runs]
    assert often[0][0] == 12.0 and often[-1][1] < CHANCE < often[-1][2], "at chance, by its interval"
    assert all(low <= value <= high for one in runs for value, low, high in (*one["exposure"], one["loss"]))
    assert max(one["loss"][0] for one in runs) < runs[0]["before"], "each has learnt something"
