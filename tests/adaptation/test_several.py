"""Several adapters beside one network: each row has its own as if it were alone, and none is taken for another."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from adaptation.adapted import adapter_folder, bottleneck_folder, prompt_folder

import lmworks as lm
from lmworks.adaptation.adapter_files import CONFIG, grid_of
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import add_lora, remove_adapters
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.nf4 import VALUES
from lmworks.adaptation.peft_format import read_adapter, write_adapter
from lmworks.adaptation.reading import put_adapter
from lmworks.basics.errors import ConfigError, LmworksError, ModelError
from lmworks.basics.files import write_json
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Draft, Lookup
from lmworks.generation.strategies import Beam, Contrastive, Greedy, Sample
from lmworks.kernels import CompiledRunner, unavailable
from lmworks.language_model import LanguageModel
from lmworks.models.config import ExpertSettings
from lmworks.models.files.model_folder import read_json
from lmworks.models.hooks import hooked
from lmworks.models.unread import peek, unread_of
from lmworks.serving.pytorch_worker import twin

SHAPE = {"dim": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden_dim": 96, "context": 512}
MADE: dict[str, dict[str, Any]] = {
    "a": {"rank": 5, "seed": 1},
    "b": {"rank": 9, "seed": 2, "targets": ("q_proj", "v_proj", "down_proj")},
    "c.d/e": {"rank": 40, "seed": 3, "targets": ("o_proj", "up_proj")},
    "dora": {"rank": 6, "seed": 7, "targets": ("q_proj", "k_proj", "o_proj", "up_proj"), "kind": DoRALinear},
}
"""A name may be whatever can be named over the API."""
NAMES = ["a", None, "dora", "c.d/e", "a", "b"]
PROMPTS = [f"{'The quick brown fox ' * number} jumps" for number in range(6)]


def make(path: str, **settings: object) -> LanguageModel:
    model = tiny.language_model(seed=4, **(SHAPE | settings))
    model.network.requires_grad_(False)
    if path == "compiled":
        if unavailable() is not None:
            pytest.skip(str(unavailable()))
        model.runner = CompiledRunner(model.network, 8)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter for each name."""
    root, network = tmp_path_factory.mktemp("adapters"), make("plain").network
    return {name: adapter_folder(root / name, network, **how) for name, how in MADE.items()}


@pytest.fixture(scope="module", params=["plain", "compiled"])
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> LanguageModel:
    made = make(request.param)
    for name, folder in folders.items():
        lm.add_adapter(made, name, folder)
    assert made.runner.name == ("compiled" if request.param == "compiled" else "PyTorch")
    return made


def same(model: LanguageModel, one: Any, other: Any) -> bool:
    """To the bit on the compiled path; in PyTorch the last bits depend on the number of rows."""
    exact = isinstance(model.runner, CompiledRunner)
    return one.tokens == other.tokens and one.logprobs == (
        other.logprobs if exact else pytest.approx(other.logprobs, abs=1e-4)
    )


def test_a_shared_expert_has_the_adapter_of_each_row(tmp_path: Path):
    """In PyTorch, where routed experts read the tokens of all rows as one list."""
    model = make("plain", family="qwen2_moe", experts=ExpertSettings(count=4, top_k=2, shared_dim=64, shared_gate=True))
    folders = [adapter_folder(tmp_path / name, model.network, rank=4, seed=len(name)) for name in ("a", "bb")]
    for folder in folders:
        lm.add_adapter(model, folder.name, folder)
    prompts, names = PROMPTS[:3], ["a", None, "bb"]
    together = model.generate_batch(prompts, max_new_tokens=4, adapter=names)
    alone = [model.generate(one, max_new_tokens=4, adapter=name) for one, name in zip(prompts, names, strict=True)]
    assert all(same(model, one, other) for one, other in zip(together, alone, strict=True))
    assert model.generate(prompts[0], max_new_tokens=4).logprobs != together[0].logprobs


def test_each_row_of_a_mixed_batch_is_as_if_it_were_alone(model: LanguageModel):
    together = model.generate_batch(PROMPTS, max_new_tokens=8, adapter=NAMES)
    texts = []
    for prompt, name, answer in zip(PROMPTS, NAMES, together, strict=True):
        assert same(model, answer, model.generate(prompt, max_new_tokens=8, adapter=name)), name
        texts.append(answer.tokens)
        if name is not None:
            assert answer.tokens != model.generate(prompt, max_new_tokens=8).tokens
    assert len({tuple(one) for one in texts}) == len(texts)


@torch.no_grad()
def test_a_named_adapter_is_what_it_is_on_a_model_by_itself(model: LanguageModel, folders: dict[str, Path]):
    tokens = tiny.text(2, 70)
    assert torch.equal(model.runner.hidden(tokens), make(_way(model)).runner.hidden(tokens))
    for name, folder in folders.items():
        alone = make("plain")
        read_adapter(folder, alone.network).requires_grad_(False)
        if _way(model) == "compiled":
            alone.runner = CompiledRunner(alone.network, 8)
            assert torch.equal(model.runner.hidden(tokens, adapter=name), alone.runner.hidden(tokens))
        torch.testing.assert_close(model.runner.hidden(tokens, adapter=name), alone.runner.hidden(tokens))


def _way(model: LanguageModel) -> str:
    return "compiled" if isinstance(model.runner, CompiledRunner) else "plain"


@pytest.mark.parametrize("strategy", [Sample(temperature=1.1, seed=5), Beam(width=3), Contrastive(top_k=3, alpha=0.5)])
def test_requests_of_every_kind_come_and_go_beside_each_other(model: LanguageModel, strategy: Any):
    """An engine with fewer seats than rows, prompts in parts of 16 tokens."""
    with Engine(model, seats=5, queue=30, chunk=16) as engine:
        handles = [
            engine.submit(prompt, how, max_new_tokens=9, adapter=name)
            for prompt, name in zip(PROMPTS, NAMES, strict=True)
            for how in (strategy, Greedy())
        ]
        answers = [handle.answer(60) for handle in handles]
    for number, (prompt, name) in enumerate(zip(PROMPTS, NAMES, strict=True)):
        for answer, how in zip(answers[2 * number :], (strategy, Greedy()), strict=False):
            assert answer.tokens == model.generate(prompt, how, max_new_tokens=9, adapter=name).tokens


def test_guesses_change_nothing(model: LanguageModel):
    draft = Draft(make("plain"))
    for name in ("a", None, "b"):
        wanted = model.generate(PROMPTS[3], max_new_tokens=24, adapter=name).tokens
        for guess in (Lookup(), draft):
            assert model.generate(PROMPTS[3], max_new_tokens=24, adapter=name, guess=guess).tokens == wanted
    together = model.generate_batch(PROMPTS, max_new_tokens=16, adapter=NAMES, guess=Lookup())
    for prompt, name, answer in zip(PROMPTS, NAMES, together, strict=True):
        assert answer.tokens == model.generate(prompt, max_new_tokens=16, adapter=name).tokens


def test_beginnings_are_kept_for_one_adapter_and_found_by_no_other(folders: dict[str, Path]):
    model = make("compiled")
    for name, folder in folders.items():
        lm.add_adapter(model, name, folder)
    prompt = tiny.text(1, 140)[0].tolist()
    wanted = {name: model.generate(prompt, max_new_tokens=6, adapter=name).tokens for name in ("a", None, "b")}
    with Engine(model) as engine:

        def ask(name: str | None) -> int:
            handle = engine.submit(prompt, max_new_tokens=6, adapter=name)
            assert handle.answer(60).tokens == wanted[name]
            return handle.sequence.reused

        assert [ask(name) for name in ("a", None, "b", "a", None, "b")] == [0, 0, 0, 128, 128, 128]


def test_a_prompt_that_another_adapter_reads_now_is_waited_for_by_none(folders: dict[str, Path]):
    """Two long prompts that begin alike, at the same time."""
    model = make("compiled")
    lm.add_adapter(model, "a", folders["a"])
    prompt = tiny.text(1, 200)[0].tolist()
    wanted = [model.generate(prompt, max_new_tokens=4, adapter=name).tokens for name in (None, "a")]
    with Engine(model, chunk=16) as engine:
        handles = [engine.submit(prompt, max_new_tokens=4, adapter=name) for name in (None, "a", None, "a")]
        assert [handle.answer(60).tokens for handle in handles] == wanted * 2


def test_a_forked_cache_goes_on_with_the_adapters_of_its_rows(model: LanguageModel):
    text = torch.tensor(tiny.text(1, 9)[0].tolist()).repeat(2, 1)
    cache, rows = model.runner.new_cache(2, adapters=["a", None]), [1, 0, 0]
    model.runner.read(text[:, :8], cache)
    forked = cache.fork(rows)
    wanted = model.runner.next_logits(text[:, 8:], cache)[rows]
    assert forked.adapters == [None, "a", "a"] and cache.adapters == ["a", None]
    np.testing.assert_allclose(model.runner.next_logits(text[rows, 8:], forked), wanted, rtol=1e-5, atol=1e-5)


def test_scores_and_vectors_are_the_adapters(model: LanguageModel, folders: dict[str, Path]):
    alone = make("plain")
    read_adapter(folders["a"], alone.network)
    near = {"rtol": 0.05, "atol": 0.3} if _way(model) == "compiled" else {"rtol": 1e-4, "atol": 1e-4}  # 8 bits
    text = "a text that is scored"
    scores = [model.score(text, adapter=name) for name in (None, "a", "b")]
    assert scores[1].logprobs == pytest.approx(alone.score(text).logprobs, rel=near["rtol"], abs=near["atol"])
    assert len({score.bits for score in scores}) == 3
    vectors = [model.embed([text, "b"], adapter=name) for name in (None, "a", "b")]
    assert (vectors[1] * alone.embed([text, "b"])).sum(1).min() > 0.99
    assert all((vectors[0] * other).sum(1).max() < 0.99 for other in vectors[1:])
    long = text * 80  # more than one window
    assert model.score(long, adapter="a").bits != model.score(long).bits


def test_a_name_that_is_none_is_an_error_and_never_the_base(model: LanguageModel):
    asks: list[Callable[[], Any]] = [
        lambda: model.generate("a", adapter="d"),
        lambda: model.generate_batch(["a", "b"], adapter=["a", "d"]),
        lambda: next(model.stream("a", adapter="d")),
        lambda: model.score("ab", adapter="d"),
        lambda: model.embed(["ab"], adapter="d"),
        lambda: model.runner.hidden(tiny.text(1, 4), adapter="d"),
        lambda: model.runner.next_logits(tiny.text(1, 4), model.runner.new_cache(1, adapters=["d"])),
    ]
    for ask in asks:
        with pytest.raises(ConfigError, match=r"there is no adapter 'd'; there is a and b and dora and c\.d/e"):
            ask()
    with pytest.raises(ConfigError, match="there are 2 prompts and 1 adapters"):
        model.generate_batch(["a", "b"], adapter=["a"])
    with pytest.raises(ConfigError, match=r"there is no adapter 'a'; none stands beside the model"):
        make("plain").generate("a", adapter="a")


def test_one_more_adapter_leaves_the_weights_and_all_others_as_they_are(folders: dict[str, Path]):
    model = make("compiled")
    assert isinstance(model.runner, CompiledRunner)
    lm.add_adapter(model, "a", folders["a"])
    weights, before = model.runner.compiled.weights, model.generate("xy", max_new_tokens=8, adapter="a")
    matrices, size = dict(weights.matrices), weights.bytes
    with Engine(model) as engine:
        assert engine.submit("x" * 140, max_new_tokens=1, adapter="a").answer(60)
        lm.add_adapter(model, "b", folders["b"])
        again = engine.submit("x" * 140, max_new_tokens=1, adapter="a")
        assert again.answer(60) and again.sequence.reused == 128  # what was read is still good
    assert all(weights.matrix(name) is one for name, one in matrices.items())
    assert np.isclose(weights.bytes - size, 2 * 30_000, rtol=1)  # an adapter's, and not a network's
    assert model.generate("xy", max_new_tokens=8, adapter="a").logprobs == before.logprobs
    assert model.runner.stands() and model.adapters == ["a", "b"]


def test_pytorch_goes_on_with_the_adapters_where_the_tape_does_not_stand(folders: dict[str, Path]):
    model = make_with("compiled", folders)
    wanted = make_with("plain", folders).generate_batch(PROMPTS, max_new_tokens=6, adapter=NAMES)
    with hooked(model.network, {"blocks.0.residual_out": lambda activation: None}):
        answers = model.generate_batch(PROMPTS, max_new_tokens=6, adapter=NAMES)
    assert [one.tokens for one in answers] == [one.tokens for one in wanted]


def test_a_copy_has_the_adapters_and_a_choice_of_its_own(model: LanguageModel):
    made = twin(model)
    assert made.adapters == model.adapters
    answers = made.generate_batch(PROMPTS, max_new_tokens=2, adapter=NAMES)
    alone = [made.generate(prompt, max_new_tokens=2, adapter=name) for prompt, name in zip(PROMPTS, NAMES, strict=True)]
    assert [one.tokens for one in answers] == [one.tokens for one in alone]


def test_weights_that_nobody_needs_stay_in_their_file(tmp_path: Path, folders: dict[str, Path]):
    make("plain").save(tmp_path / "base")
    model = lm.load(tmp_path / "base", compress="int8")
    if model.runner.name == "PyTorch":
        pytest.skip(str(unavailable()))
    lm.add_adapter(model, "a", folders["a"])
    lm.add_adapter(model, "b", folders["b"])
    matrix = model.network.blocks[1].attention.qkv.base
    assert unread_of(peek(matrix, "weight")) is not None and unread_of(peek(model.network.embedding, "weight"))
    assert model.generate("a", adapter="b").tokens == make_with("compiled", folders).generate("a", adapter="b").tokens
    assert unread_of(peek(matrix, "weight")) is not None


def make_with(path: str, folders: dict[str, Path]) -> LanguageModel:
    model = make(path)
    for name, folder in folders.items():
        lm.add_adapter(model, name, folder)
    return model


@pytest.mark.parametrize("path", ["plain", "compiled"])
@torch.no_grad()
def test_bottlenecks_stand_beside_adapters_of_other_kinds(path: str, tmp_path: Path, folders: dict[str, Path]):
    """Each row is what the network is with that adapter alone: to the bit on the compiled path, which goes on."""
    network = make("plain").network
    every = {name: folders[name] for name in ("a", "dora")} | {
        "houlsby": bottleneck_folder(tmp_path / "houlsby", network, "houlsby", seed=3),
        "pfeiffer": bottleneck_folder(tmp_path / "pfeiffer", network, "pfeiffer", size=37, seed=4, activation="tanh"),
    }
    model = make_with(path, every)
    assert model.runner.name == ("PyTorch" if path == "plain" else "compiled")
    names = ["houlsby", None, "a", "pfeiffer", "dora", "houlsby"]
    tokens = tiny.text(len(names), 40)
    cache = model.runner.new_cache(len(names), adapters=names)
    together, seen = model.runner.hidden(tokens, cache=cache), []
    for row, name in enumerate(names):
        alone, text = alone_with(None if name is None else every[name], path), tokens[row : row + 1]
        seen.append(alone.runner.hidden(text))
        for made in (together[row : row + 1], model.runner.hidden(text, adapter=name)):
            if path == "compiled":
                assert torch.equal(made, seen[-1]), name
            else:
                torch.testing.assert_close(made, seen[-1], rtol=1e-5, atol=1e-5)
        exact = alone.network.hidden(text)
        assert (seen[-1] - exact).norm() < 0.08 * exact.norm()  # values in 8 bits, and weights
    assert all((one - other).abs().max() > 0.01 for one, other in itertools.pairwise(seen))
    answers = model.generate_batch(PROMPTS, max_new_tokens=6, adapter=names)
    for prompt, name, answer in zip(PROMPTS, names, answers, strict=True):
        assert same(model, answer, model.generate(prompt, max_new_tokens=6, adapter=name)), name
        assert same(model, answer, alone_with(None if name is None else every[name], path).generate(prompt,
            max_new_tokens=6)), name  # fmt: skip
    assert model.adapters == ["a", "dora", "houlsby", "pfeiffer"]
    alone_network = make("plain").network
    count = sum(one.numel() for one in alone_network.parameters())
    put_adapter(every["houlsby"], alone_network)
    assert model.parameters_with("houlsby") == sum(one.numel() for one in alone_network.parameters()) > count
    assert model.parameters_with(None) == count
    with pytest.raises(ConfigError, match="there is no adapter 'houlsbi'; there is a and dora and houlsby and pfeiff"):
        model.generate("a", adapter="houlsbi")


@torch.no_grad()
def test_taken_off_bottlenecks_leave_the_base(tmp_path: Path, folders: dict[str, Path]):
    model, tokens = make("compiled"), tiny.text(2, 40)
    before = model.runner.hidden(tokens)
    for seed, name in enumerate(("one", "two")):
        lm.add_adapter(model, name, bottleneck_folder(tmp_path / name, make("plain").network, "houlsby", seed=seed))
    lm.add_adapter(model, "a", folders["a"])
    assert torch.equal(model.runner.hidden(tokens), before)
    assert not torch.equal(model.runner.hidden(tokens, adapter="two"), before)
    remove_adapters(model.network).requires_grad_(False)
    assert model.adapters == [] and not model.runner.stands()
    torch.testing.assert_close(model.runner.hidden(tokens), make("plain").runner.hidden(tokens))
    with pytest.raises(ConfigError, match="there is no adapter 'one'; none stands beside the model"):
        model.generate("a", adapter="one")
    model.choose_runner("int8")
    assert torch.equal(model.runner.hidden(tokens), before)


def test_a_spoilt_bottleneck_or_prompt_is_refused_beside_others_and_changes_nothing(
    tmp_path: Path, folders: dict[str, Path], prompts: dict[str, Path]
):
    network = make("plain").network
    wide = tiny.language_model(seed=4, **(SHAPE | {"dim": 96})).network
    spoilt = bottleneck_folder(tmp_path / "spoilt", network, "pfeiffer")
    settings = read_json(spoilt / CONFIG)
    write_json(spoilt / CONFIG, settings | {"size": 7})
    short = prompt_folder(tmp_path / "short", network)
    write_json(short / CONFIG, read_json(short / CONFIG) | {"num_virtual_tokens": 7})
    model = make_with("plain", {"a": folders["a"], "p": prompts["p"]})
    state = {name: one.clone() for name, one in model.network.state_dict().items()}
    for folder, said in (
        (short, "num_virtual_tokens = 7; the two files do not belong together"),
        (prompt_folder(tmp_path / "wider", wide), "the adapter was made for another model"),
        (spoilt, "size = 7; the two files do not belong together"),
        (bottleneck_folder(tmp_path / "wide", wide, "pfeiffer"), "the adapter was made for another model"),
    ):
        with pytest.raises(ModelError, match=said):
            lm.add_adapter(model, "x", folder)
    assert model.adapters == ["a", "p"] and list(state) == list(model.network.state_dict())
    assert all(torch.equal(one, state[name]) for name, one in model.network.state_dict().items())
    with pytest.raises(ConfigError, match="there is an adapter 'p' already"):
        lm.add_adapter(model, "p", prompts["p"])
    with pytest.raises(LmworksError, match="adapters on"):
        model.save(tmp_path / "saved")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two trained prompts, of different lengths."""
    root, network = tmp_path_factory.mktemp("prompts"), make("plain").network
    return {name: prompt_folder(root / name, network, length, length) for name, length in (("p", 5), ("long", 70))}


def alone_with(folder: Path | None, path: str = "plain") -> LanguageModel:
    """The model with one adapter that all texts use."""
    model = make("plain")
    if folder is not None:
        put_adapter(folder, model.network).requires_grad_(False)
    if path == "compiled":
        model.runner = CompiledRunner(model.network, 8)
    return model


@pytest.mark.parametrize("path", ["plain", "compiled"])
def test_trained_prompts_stand_beside_adapters_and_each_text_begins_with_its_own(
    path: str, folders: dict[str, Path], prompts: dict[str, Path]
):
    """Of other lengths, in a batch with texts that have none; on the compiled path, which goes on."""
    every = {"a": folders["a"], **prompts, "dora": folders["dora"]}
    model = make_with(path, every)
    assert model.runner.name == ("PyTorch" if path == "plain" else "compiled") and model.adapters == [
        *("a", "dora", "p", "long")
    ]
    names = ["p", None, "long", "a", "dora", "p"]
    together = model.generate_batch(PROMPTS, max_new_tokens=8, adapter=names)
    for prompt, name, answer in zip(PROMPTS, names, together, strict=True):
        assert same(model, answer, model.generate(prompt, max_new_tokens=8, adapter=name)), name
        assert answer.prompt == model.tokenizer.encode(prompt)
        alone = alone_with(None if name is None else every[name])
        exact = alone.generate(prompt, max_new_tokens=8)
        score = model.score(prompt, adapter=name)
        if path == "plain":
            assert answer.tokens == exact.tokens
            beams = [
                one.generate(prompt, Beam(width=3), max_new_tokens=5, adapter=of).tokens
                for one, of in ((model, name), (alone, None))
            ]
            assert beams[0] == beams[1]
            assert answer.logprobs == pytest.approx(exact.logprobs, rel=1e-5, abs=1e-5)
            assert score.logprobs == pytest.approx(alone.score(prompt).logprobs, rel=1e-5, abs=1e-5)
        else:
            assert score.logprobs == pytest.approx(alone.score(prompt).logprobs, rel=0.05, abs=0.3)  # 8 bits
    plain = make("plain")
    assert all(model.score(PROMPTS[2], adapter=name).bits != plain.score(PROMPTS[2]).bits for name in prompts)
    assert model.runner.stands() if isinstance(model.runner, CompiledRunner) else True


def test_a_trained_prompt_stands_beside_a_compiled_model_alone(prompts: dict[str, Path]):
    model = make_with("compiled", {"p": prompts["p"]})
    answers = model.generate_batch(PROMPTS[:2], max_new_tokens=6, adapter=["p", None])
    beside = make_with("compiled", prompts)
    assert [one.tokens for one in answers] == [
        beside.generate(prompt, max_new_tokens=6, adapter=name).tokens
        for prompt, name in zip(PROMPTS, ("p", None), strict=False)
    ]
    assert model.generate(PROMPTS[0], max_new_tokens=6).tokens == make("compiled").generate(
        PROMPTS[0], max_new_tokens=6
    ).tokens  # fmt: skip


def test_what_a_trained_prompt_takes_is_counted_and_never_seen(folders: dict[str, Path], prompts: dict[str, Path]):
    model = make_with("compiled", {"a": folders["a"], **prompts})
    assert (model.longest_with(None), model.longest_with("long")) == (512, 442)
    alone = alone_with(prompts["long"])
    full = tiny.text(1, 440)[0].tolist()
    for one in (model, alone):
        name = "long" if one is model else None
        answer = one.generate(full, max_new_tokens=9, adapter=name)
        assert (len(answer.tokens), answer.finish, len(answer.prompt)) == (2, "window", 440)
        with pytest.raises(ConfigError, match="the prompt has 443 tokens and the model reads 442"):
            one.generate(tiny.text(1, 443)[0].tolist(), adapter=name)
    text = "a text of many windows " * 40
    scores = [one.score(text, adapter=name).bits for one, name in ((model, "long"), (alone, None))]
    assert scores[0] == pytest.approx(scores[1], rel=0.01)
    assert model.parameters_with("p") - model.parameters_with(None) == 5 * 64
    refused: list[tuple[str, Callable[[], Any]]] = [
        ("does not go with a window that slides", lambda: model.generate("a", adapter="p", window="slide")),
        (
            "does not go with contrastive search",
            lambda: model.generate("a", Contrastive(top_k=3, alpha=0.5), adapter="p"),
        ),
        ("load it by itself", lambda: model.embed(["a"], adapter="p")),
        ("there is no adapter 'p'", lambda: model.runner.hidden(tiny.text(1, 4), adapter="p")),
        ("the prompt names the token", lambda: model.generate([model.config.vocab_size, 3], max_new_tokens=1)),
        ("there is a and p and long", lambda: model.generate("a", adapter="q")),
    ]
    for said, ask in refused:
        with pytest.raises(ConfigError, match=said):
            ask()


def test_a_trained_prompt_may_come_before_every_other_adapter_or_alone(
    folders: dict[str, Path], prompts: dict[str, Path]
):
    """On a compiled model, which has nothing to pack then."""
    alone, model = make_with("compiled", {"p": prompts["p"]}), make("compiled")
    wanted = make_with("compiled", {"dora": folders["dora"], "p": prompts["p"]})
    assert alone.adapters == ["p"] and alone.runner.stands()
    for name, folder in (("p", prompts["p"]), ("dora", folders["dora"]), ("long", prompts["long"])):
        lm.add_adapter(model, name, folder)
        answer = model.generate(PROMPTS[2], max_new_tokens=8, adapter="p")
        for other in (alone, wanted):
            assert same(model, answer, other.generate(PROMPTS[2], max_new_tokens=8, adapter="p"))
    assert sorted(model.adapters) == ["dora", "long", "p"] and model.runner.stands()
    for name in ("dora", None):
        answer = model.generate(PROMPTS[2], max_new_tokens=8, adapter=name)
        assert same(model, answer, wanted.generate(PROMPTS[2], max_new_tokens=8, adapter=name))


def test_beginnings_under_a_trained_prompt_are_kept_for_it_alone(folders: dict[str, Path], prompts: dict[str, Path]):
    model = make_with("compiled", {"a": folders["a"], **prompts})
    prompt = tiny.text(1, 140)[0].tolist()
    names = ("p", None, "long", "a")
    wanted = {name: model.generate(prompt, max_new_tokens=6, adapter=name).tokens for name in names}
    with Engine(model) as engine:

        def ask(name: str | None) -> int:
            handle = engine.submit(prompt, max_new_tokens=6, adapter=name)
            assert handle.answer(60).tokens == wanted[name]
            return handle.sequence.reused

        assert [ask(name) for name in (*names, *names)] == [0, 0, 0, 0, 128, 128, 192, 128]


def test_what_cannot_stand_beside_others_is_refused_and_changes_nothing(tmp_path: Path, folders: dict[str, Path]):
    network = make("plain").network
    wide = tiny.language_model(seed=4, **(SHAPE | {"hidden_dim": 128}))
    foreign = adapter_folder(tmp_path / "foreign", network)
    write_json(foreign / "lmworks.json", {"base": {"sha256": "0" * 64}})
    refused = {
        "holds no adapter": tmp_path,
        "lora_magnitude_vector \\(14 missing": adapter_folder(tmp_path / "dora", network, use_dora=True),
        "in NF4, and this base has those of its files": adapter_folder(
            tmp_path / "nf4", network, lmworks_base_values=VALUES
        ),
        "an adapter of type 'IA3' cannot": adapter_folder(tmp_path / "ia3", network, peft_type="IA3"),
        "the adapter was made for another model": adapter_folder(tmp_path / "wide", wide.network),
        "r = 7; the two files do not belong together": adapter_folder(tmp_path / "rank", network, r=7),
        "was trained on other weights": foreign,
    }
    make("plain").save(tmp_path / "base")
    model = lm.load(tmp_path / "base", compress="none")
    lm.add_adapter(model, "a", folders["a"])
    state = {name: one.clone() for name, one in model.network.state_dict().items()}
    for said, folder in refused.items():
        with pytest.raises(ModelError, match=said):
            lm.add_adapter(model, "x", folder)
    with pytest.raises(ConfigError, match="there is an adapter 'a' already"):
        lm.add_adapter(model, "a", folders["b"])
    with pytest.raises(ConfigError, match="the adapter has no name"):
        lm.add_adapter(model, "", folders["b"])
    assert model.adapters == ["a"] and list(state) == list(model.network.state_dict())
    assert all(torch.equal(one, state[name]) for name, one in model.network.state_dict().items())
    with pytest.raises(LmworksError, match="adapters on"):
        model.save(tmp_path / "saved")


@pytest.mark.parametrize("path", ["plain", "compiled"])
def test_adapters_of_nf4_stand_beside_a_base_that_was_rounded_once(path: str, tmp_path: Path):
    """Each is what it is alone; without one it is the rounded base, and not that of the files."""
    if path == "compiled" and unavailable() is not None:
        pytest.skip(str(unavailable()))
    base, compress = tmp_path / "base", "none" if path == "plain" else "int8"
    make("plain", hidden_dim=128).save(base)
    network = make("plain", hidden_dim=128).network
    folders: dict[str | None, Path] = {
        name: adapter_folder(tmp_path / name, network, str(base), lmworks_base_values=VALUES, **MADE[name])
        for name in ("a", "b", "dora")
    }
    alone = {name: lm.load(folder, compress=compress) for name, folder in folders.items()}
    alone[None] = lm.load(folders["a"], compress=compress)
    remove_adapters(alone[None].network).requires_grad_(False)
    alone[None].choose_runner(compress)
    model = lm.load(base, grid="nf4", compress=compress)
    assert model.rounded_to == VALUES and model.runner.name == ("PyTorch" if path == "plain" else "compiled")
    for name, folder in folders.items():
        lm.add_adapter(model, str(name), folder)
    names = ["a", None, "b", "dora", "a"]
    answers = model.generate_batch(PROMPTS[:5], max_new_tokens=8, adapter=names)
    for prompt, name, answer in zip(PROMPTS, names, answers, strict=False):
        assert same(model, answer, alone[name].generate(prompt, max_new_tokens=8)), name
    scores = {name: model.score(PROMPTS[2], adapter=name).bits for name in alone}
    assert scores == pytest.approx({name: one.score(PROMPTS[2]).bits for name, one in alone.items()}, rel=1e-6)
    exact = lm.load(base, compress=compress)
    assert exact.rounded_to is None
    assert len({*scores.values(), exact.score(PROMPTS[2]).bits}) == len(scores) + 1
    for plain in (
        adapter_folder(tmp_path / "plain", network, str(base)),
        bottleneck_folder(tmp_path / "bottleneck", network, "pfeiffer", base=str(base)),
    ):
        with pytest.raises(ModelError, match="the values of its base's files, and this base is rounded to NF4; load"):
            lm.add_adapter(model, "plain", plain)
        with pytest.raises(ConfigError, match=r"a was trained on its base's values in NF4 and .*, and one base has o"):
            grid_of([plain, *folders.values()])
    assert model.adapters == ["a", "b", "dora"] and grid_of(folders.values()) == "nf4" and grid_of([]) is None
    again = add_lora(copy.deepcopy(remove_adapters(model.network)), LoRAConfig(rank=2))
    write_adapter(tmp_path, again, str(base))  # what is trained beside it now says so
    assert read_json(tmp_path / CONFIG)["lmworks_base_values"] == VALUES


def test_what_cannot_be_loaded_on_a_grid_says_so(tmp_path: Path):
    network = make("plain").network
    make("plain").save(tmp_path / "base")
    folder = adapter_folder(tmp_path / "a", network, str(tmp_path / "base"), lmworks_base_values=VALUES)
    tiny.language_model(family="lmworks", arrangement="encoder").save(tmp_path / "encoder")
    for reference, grid, said in (
        (tmp_path / "base", "fp4", "grid is 'fp4', and it is nf4, or left out for the values of the model's files"),
        (folder, "nf4", "holds an adapter, which says what its base is rounded to; leave grid out"),
        (tmp_path / "encoder", "nf4", "encoder is nothing that adapters learn text beside"),
    ):
        with pytest.raises(ConfigError, match=said):
            lm.load(reference, grid=grid)


def test_models_that_can_have_no_several_say_so(tmp_path: Path, folders: dict[str, Path]):
    model = make("plain")
    add_lora(model.network, LoRAConfig(rank=2))
    with pytest.raises(ConfigError, match="has an adapter on it that all texts use; load its base"):
        lm.add_adapter(model, "a", folders["a"])
    translator = tiny.language_model(arrangement="encoder-decoder", family="lmworks")
    with pytest.raises(ConfigError, match="an encoder-decoder runs with one adapter at a time"):
        lm.add_adapter(translator, "a", folders["a"])


@torch.no_grad()
def test_an_encoder_embeds_compiled_with_its_adapters(tmp_path: Path):
    folder = tmp_path / "encoder"
    tiny.language_model(seed=4, **(SHAPE | {"family": "lmworks", "arrangement": "encoder"})).save(folder)
    model = lm.load(folder)
    adapter = adapter_folder(tmp_path / "adapter", copy.deepcopy(model.network))
    texts = ["one text", "another one that is longer"]
    plain = model.embed(texts)
    lm.add_adapter(model, "a", adapter)
    exact = lm.load(folder, compress="none", dtype="float32")
    lm.add_adapter(exact, "a", adapter)
    assert (model.embed(texts) * plain).sum(1).min() > 0.9999
    assert (model.embed(texts, adapter="a") * exact.embed(texts, adapter="a")).sum(1).min() > 0.99
    assert (model.embed(texts, adapter="a") * plain).sum(1).max() < 0.95
