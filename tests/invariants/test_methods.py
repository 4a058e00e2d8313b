"""Silent errors of adaptation, for every method that is declared: pitfalls 15 and 21 to 27.

A new method is tested by being declared. Where a pitfall has another form for a method, the test's parameter says so:
weights that are trained themselves have no adapter to merge, and springs hold plain matrices alone.
"""

from __future__ import annotations

import copy
import json
import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import tiny
import torch
from adaptation.adapted import packed
from safetensors.torch import load_file, save_file
from training.runs import CONFIG, Interfering, logged, rows

from lmworks.adaptation.adapter_files import CONFIG as CONFIG_FILE
from lmworks.adaptation.adapter_files import WEIGHTS
from lmworks.adaptation.declaration import Original, Setup
from lmworks.adaptation.elastic import Elastic
from lmworks.adaptation.fisher import diagonal_fisher
from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.lora import lora_layers, merge_adapters
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.nf4 import round_to_nf4
from lmworks.adaptation.reading import put_adapter
from lmworks.adaptation.retention.ewc import EWC, EWCConfig
from lmworks.adaptation.retention.kl import KL, KLConfig
from lmworks.basics.errors import ConfigError, ModelError, Stopped
from lmworks.checks.training import group_differences
from lmworks.models.adapted import has_adapters
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Example, Row
from lmworks.tokens.labels import IGNORE
from lmworks.training.checkpoint import State, load_checkpoint, save_checkpoint
from lmworks.training.loop import train
from lmworks.training.optimiser import make_optimiser, trainable
from lmworks.training.optimisers.adamw import AdamWSettings
from lmworks.training.optimisers.muon import MuonSettings

SETTINGS: dict[str, dict[str, Any]] = {"bottleneck": {"size": 8}, "prompt": {"length": 3}}
"""Of methods whose own do not fit a network of 32 dimensions; others are taken with their own."""
UNCOVERED = {"family": "gpt2", "positions": "learned", "norm": "layer", "kv_heads": 4}
"""A network whose blocks autograd runs."""
TOKENS = tiny.text(2, 20)
each = pytest.mark.parametrize("name", METHODS)


def reasons(**why: str) -> Any:
    """Each method, and of those for which the pitfall has another form, why it has."""
    found = [pytest.param(one, why.get(one, ""), id=f"{one}: {why[one]}" if one in why else one) for one in METHODS]
    return pytest.mark.parametrize(("name", "why"), found)


def network(seed: int = 0, **settings: Any) -> Network:
    """Three blocks with a tied head, so that something lies before the last two."""
    return tiny.network(seed, layers=3, **settings)


def prepared(name: str, base: Network | None = None, seed: int = 3, **more: Any) -> Network:
    """A network as the method trains it."""
    method = METHODS[name]
    setup = Setup(network() if base is None else base, CausalLM(), rows(), seed)
    return method.prepare(setup, method.settings(**SETTINGS.get(name, {}) | more)).network


def taught(name: str, folder: Path, base: Network | None = None, steps: int = 2, **more: Any) -> Network:
    """The same after some steps: what begins at zero has moved, and so has what lies behind it."""
    model = prepared(name, base, **more)
    train(model, CausalLM(), rows(), CONFIG.but(steps=steps, weight_decay=0.0, warmup=0.0), folder)
    return model


def values(model: Network) -> dict[str, torch.Tensor]:
    """Every parameter, and every frozen matrix in few bits, copied."""
    frozen = {path: one.weight for path, one in model.named_modules() if isinstance(one, FrozenLinear)}
    return {name: one.detach().clone() for name, one in (dict(model.named_parameters()) | frozen).items()}


def written(name: str, folder: Path, model: Network) -> Path:
    """The result on disk; the file of its weights."""
    folder.mkdir()
    adapter = METHODS[name].adapter
    if adapter is None:
        write_network(folder, model)
        return folder / "model.safetensors"
    adapter.write(folder, model, "base")
    return folder / WEIGHTS


def read(name: str, folder: Path, onto: Network | None = None) -> Network:
    """The result of a folder."""
    if METHODS[name].adapter is None:
        return read_network(folder)
    return put_adapter(folder, network() if onto is None else onto)


def tied(model: Network) -> bool:
    return model.head is None and model.head_weight.data_ptr() == model.embedding.weight.data_ptr()


@each
def test_the_tie_holds_in_training_merging_saving_and_loading(name: str, tmp_path: Path):
    """Pitfall 15: by storage; and no file of an adapter holds what is tied, or anything as large as it."""
    model = taught(name, tmp_path / "run")
    stays = "embedding.weight" not in trainable(model)
    assert tied(model) and tied(copy.deepcopy(model))
    METHODS[name].settle(model)
    file = written(name, tmp_path / "result", model)
    if (adapter := METHODS[name].adapter) is not None:
        held = load_file(file)
        assert held.keys() == adapter.tensors(model).keys()
        assert all(one.numel() < model.embedding.weight.numel() for one in held.values())
    back = read(name, tmp_path / "result")
    assert tied(back)
    if adapter is None or adapter.merges:
        plain = merge_adapters(back)
        (tmp_path / "plain").mkdir()
        write_network(tmp_path / "plain", plain)
        assert "lm_head.weight" not in load_file(tmp_path / "plain" / "model.safetensors")
        again = read_network(tmp_path / "plain")
        assert tied(plain) and tied(again) and torch.equal(again(TOKENS), plain(TOKENS))
        assert torch.equal(plain.embedding.weight, network().embedding.weight) == stays


@each
def test_what_is_loaded_is_all_of_what_was_learnt(name: str, tmp_path: Path):
    """Pitfall 21: equal to the bit; a file that lacks a tensor or holds another is refused, and nothing is changed."""
    model = taught(name, tmp_path / "run")
    METHODS[name].settle(model)
    file = written(name, tmp_path / "result", model)
    assert torch.equal(read(name, file.parent)(TOKENS), model(TOKENS))
    assert (model(TOKENS) - network()(TOKENS)).abs().max() > 1e-3, "it does something"
    whole = load_file(file)
    kinds = {"".join(letter for letter in one if not letter.isdigit()): one for one in whole}
    spoilt = [{key: one for key, one in whole.items() if key != lost} for lost in kinds.values()]
    for tensors in (*spoilt, whole | {"another.weight": torch.ones(2)}):
        save_file(tensors, file)
        bare = network()
        with pytest.raises(ModelError) as caught:
            read(name, file.parent, bare)
        assert "\n" not in str(caught.value)
        assert torch.equal(bare(TOKENS), network()(TOKENS)) and not has_adapters(bare)


UNMERGED = {
    "full": "its weights are what was learnt, and merging leaves them",
    "last_layers": "its weights are what was learnt, and merging leaves them",
    "bottleneck": "no weight can do what it does, and merging is refused",
    "prompt": "no weight can do what it does, and merging is refused",
}
MERGED = [
    *(pytest.param(one, {}, id=f"{one}: {UNMERGED[one]}" if one in UNMERGED else one) for one in METHODS),
    pytest.param("lora", {"rank_stabilised": True}, id="lora, rank-stabilised"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "more"), MERGED)
def test_merged_and_beside_agree_and_unmerging_is_exact(name: str, more: dict, dtype: torch.dtype, tmp_path: Path):
    """Pitfall 22: a second merge changes nothing; unmerging gives back the base's weights to the bit."""
    model = taught(name, tmp_path, network().to(dtype), **more)
    METHODS[name].settle(model)
    beside, before = model(TOKENS), values(model)
    adapter = METHODS[name].adapter
    if adapter is not None and not adapter.merges:
        with pytest.raises(ConfigError, match="cannot be merged"):
            merge_adapters(model)
        assert torch.equal(model(TOKENS), beside)
        return
    layers = list(lora_layers(model).values())
    assert bool(layers) == (adapter is not None)
    for layer in layers:
        layer.merge()
    once = model(TOKENS)
    apart = 1e-4 if dtype == torch.float32 else 0.3
    torch.testing.assert_close(once, beside, rtol=apart, atol=apart)
    for layer in layers:
        layer.merge()
    assert torch.equal(model(TOKENS), once)
    for layer in layers:
        layer.unmerge()
    assert all(torch.equal(one, before[key]) for key, one in values(model).items())
    assert torch.equal(merge_adapters(model)(TOKENS), once)


@pytest.mark.parametrize("way", [{}, UNCOVERED | {"recompute": True}], ids=["by hand", "recomputing plainly"])
@each
def test_exactly_what_is_named_is_trained(name: str, way: dict[str, Any], tmp_path: Path):
    """Pitfall 23: all that requires a gradient moves, in the first block too; nothing else does, and what is saved of
    an adapter is what moved. Decay is off, so that a parameter without a gradient would stay."""
    shape, config = {key: way[key] for key in UNCOVERED if key in way}, CONFIG.but(recompute="recompute" in way)
    model = prepared(name, network(**shape))
    named, before = set(trainable(model)), values(model)
    adapter = METHODS[name].adapter
    saved = {} if adapter is None else {key: one.clone() for key, one in adapter.tensors(model).items()}
    train(model, CausalLM(), rows(), config.but(steps=2, weight_decay=0.0, warmup=0.0), tmp_path)
    moved = {key for key, one in values(model).items() if not torch.equal(one, before[key])}
    assert moved == named != set()
    if adapter is None:
        early = {key for key in named if not key.startswith(("blocks.1", "blocks.2", "norm"))}
        assert name != "last_layers" or not early
    else:
        own = set(network(**shape).state_dict())
        assert not named & own and not {key.replace(".base.", ".") for key in moved} & own
        assert saved and not [key for key, one in adapter.tensors(model).items() if torch.equal(one, saved[key])]


@each
@pytest.mark.parametrize("kind", [AdamWSettings, MuonSettings], ids=["adamw", "muon"])
def test_matrices_alone_decay_and_the_rate_moves_once_a_step(name: str, kind: type[AdamWSettings], tmp_path: Path):
    """Pitfall 24: in the groups, and in the log of a run whose steps have three micro-batches each."""
    model = prepared(name)
    config = kind(**CONFIG.model_dump(exclude={"optimiser", "beta1", "beta2"}) | {"steps": 3, "warmup": 0.0})
    assert [one.value for one in group_differences(model, config)] == [0, 0, 0]
    sizes = {key: one.ndim for key, one in trainable(model).items()}
    train(model, CausalLM(), rows(), config, tmp_path)
    groups = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["groups"]
    decays = {key: group["weight_decay"] for group in groups for key in group["names"]}
    assert decays == {key: 0.1 if size > 1 else 0.0 for key, size in sizes.items()}
    rates = [line["learning_rate"] for line in logged(tmp_path)]
    assert rates == pytest.approx([config.learning_rate * config.share_at_step(step, 3) for step in range(3)])


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_optimisers_state_goes_through_a_checkpoint_and_nothing_is_rounded(
    name: str, dtype: torch.dtype, tmp_path: Path
):
    """Pitfall 25: a stopped run goes on as if it had not been stopped, from other values than those of its start; each
    parameter has one state, and of a step that bfloat16 would round away nothing is lost."""
    config = CONFIG.but(steps=4, checkpoint_every=2)
    straight, stopped = (prepared(name, network().to(dtype)) for _ in range(2))
    losses = train(straight, CausalLM(), rows(), config, tmp_path / "straight").losses
    with pytest.raises(Stopped):
        stop = Interfering(3 * 2 - 1, lambda model: os.kill(os.getpid(), signal.SIGTERM))
        train(stopped, stop, rows(), config, tmp_path / "stopped")
    resumed = prepared(name, network().to(dtype), seed=8)
    assert train(resumed, CausalLM(), rows(), config, tmp_path / "stopped", resume=True).losses == losses[2:]
    kept = [load_file(tmp_path / one / "checkpoint" / "optimiser.safetensors") for one in ("straight", "stopped")]
    assert kept[0].keys() == kept[1].keys() and all(torch.equal(one, kept[1][key]) for key, one in kept[0].items())
    assert {key.rpartition("/")[0] for key in kept[0] if "/" in key} == set(trainable(resumed))
    assert all(torch.equal(one, trainable(straight)[key]) for key, one in trainable(resumed).items())

    small = config.but(learning_rate=1e-5, weight_decay=0.0)
    parameters, optimiser = trainable(resumed), make_optimiser(resumed, small)
    before = {key: one.detach().float().clone() for key, one in parameters.items()}
    CausalLM()(resumed, packed((20, 9), (31,))).mean.backward()
    moving = {key: one.grad != 0 for key, one in parameters.items() if one.grad is not None}
    optimiser.step()
    for key, some in moving.items():
        now = optimiser.state[parameters[key]].get("master", parameters[key].detach())
        assert now.dtype == torch.float32
        assert 0.9e-5 < (now - before[key])[some].abs().median() < 1.1e-5, key
    save_checkpoint(tmp_path / "one", parameters, optimiser, State(step=1, tokens=7))
    others = trainable(other := prepared(name, network().to(dtype), seed=8))
    fresh = make_optimiser(other, small)
    load_checkpoint(tmp_path / "one", others, fresh)
    for key, one in parameters.items():
        ours, theirs = optimiser.state[one], fresh.state[others[key]]
        assert {at: (it.dtype, it.tolist()) for at, it in ours.items()} == {
            at: (it.dtype, it.tolist()) for at, it in theirs.items()
        }


def original(name: str, model: Network) -> Original:
    language_model = tiny.language_model()
    language_model.network = model
    return Original(language_model, METHODS[name].adapter, context=32, measured=frozenset())


@each
def test_the_base_that_a_model_stays_near_is_the_base_and_is_not_trained(name: str, tmp_path: Path):
    """Pitfall 26: KL(base || model) by hand, over supervised tokens alone, the base without dropout and without the
    adapter, whatever was learnt since; no gradient reaches it."""
    model, batch = prepared(name, network(dropout=0.4)), packed((9, 20), (33,))
    before = {key: one.requires_grad for key, one in model.named_parameters()}
    setup = KL.prepare(Setup(model, CausalLM(), rows()), original(name, model), KLConfig(strength=0.5))
    train(model, CausalLM(), rows(), CONFIG.but(steps=2, warmup=0.0), tmp_path)
    base = network()
    if METHODS[name].few_bits:  # the base is then what its bits say
        adapter = METHODS[name].adapter
        assert adapter is not None
        base = copy.deepcopy(model).eval()
        METHODS[name].settle(base)
        for path, layer in lora_layers(base).items():
            base.set_submodule(path, layer.base)
    wanted = base(batch.tokens, documents=batch.documents).log_softmax(-1)
    own = model.eval()(batch.tokens, documents=batch.documents).log_softmax(-1)
    at = batch.labels != IGNORE
    kl = (wanted.exp() * (wanted - own)).sum(-1)[at].sum()
    found = setup.objective(model, batch)
    assert kl > 0.1 and found.others[0].count == int(at.sum()) < at.numel()
    torch.testing.assert_close(found.others[0].total, 0.5 * kl.detach(), rtol=1e-3, atol=1e-4)
    far = setup.objective(model.train(), batch).others[0].total  # the model drops out, and its base does not
    torch.manual_seed(1)
    near = [setup.objective.base(batch).states for _ in range(2)]  # type: ignore[attr-defined]
    assert torch.equal(near[0], near[1]) and not near[0].requires_grad and far.requires_grad
    far.backward()
    assert {key: one.requires_grad for key, one in model.named_parameters()} == before
    assert any(one.grad is not None for one in model.parameters())
    assert all(one.grad is None for key, one in model.named_parameters() if not before[key])


TINY = {"vocab_size": 6, "dim": 16, "layers": 1, "heads": 2, "kv_heads": 1, "hidden_dim": 16, "context": 32}


def few_rows(count: int, length: int = 6) -> list[Row]:
    texts = tiny.text(count, length, TINY["vocab_size"])
    return [(Example(one.tolist(), [False] + [True] * (length - 1), "random"),) for one in texts]


def test_the_fisher_information_is_that_of_a_logistic_regression():
    """Pitfall 27: the head on fixed states is one, whose Fisher information is known: p (1 - p) x^2, a token."""
    model, every = tiny.network(**TINY, tied=False), few_rows(4)
    model.head.weight.requires_grad_(True)
    tokens = torch.tensor([row[0].tokens for row in every])
    states = model.hidden(tokens).detach()[:, :-1].flatten(0, 1)
    likely = (states @ model.head.weight.detach().T).softmax(-1)
    exact = ((likely * (1 - likely)).T @ states.square()) / len(states)
    [found] = diagonal_fisher(model, every * 120, [model.head.weight], seed=0)
    assert torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1] > 0.99
    torch.testing.assert_close(found.sum(), exact.sum(), rtol=0.05, atol=0)


SPRINGLESS = "it moves no weight of the base, and is refused in a sentence"


@reasons(**dict.fromkeys(("bottleneck", "prompt"), SPRINGLESS))
def test_springs_are_as_stiff_as_the_bases_predictions_depend_on_weights(name: str, why: str, tmp_path: Path):
    """Pitfall 27: of the base, whatever the adapter holds; the sum over every label of every token, by hand."""
    base = tiny.network(**TINY | {"layers": 2})
    model = prepared(name, copy.deepcopy(base))
    given = original(name, model)
    object.__setattr__(given, "old_rows", lambda text, count, seed: few_rows(3) * 60)
    setup = Setup(model, CausalLM(), few_rows(3))
    if why:
        with pytest.raises(ConfigError, match="moves none of these"):
            EWC.prepare(setup, given, EWCConfig())
        return
    with torch.no_grad():  # an adapter that does something, which must be off while springs are measured
        for layer in lora_layers(model).values():
            for one in layer.own():
                one.normal_(std=0.3, generator=torch.Generator().manual_seed(4))
    elastic = EWC.prepare(setup, given, EWCConfig()).objective.parts()[-1]
    assert isinstance(elastic, Elastic)
    path = "blocks.1.feed_forward.down"
    if name == "qlora":  # the base is what runs: the values in few bits
        for at, one in lora_layers(model).items():
            with torch.no_grad():
                base.get_submodule(at).weight.copy_(cast(FrozenLinear, one.base).thawed().weight)
    weight, layer = base.get_submodule(path).weight.requires_grad_(True), model.get_submodule(path)
    [spring] = [one for one in elastic.springs if one.layer is layer or one.weight is getattr(layer, "weight", layer)]
    exact, counted = torch.zeros_like(weight), 0
    for [example] in few_rows(3):
        for logs in base(torch.tensor([example.tokens]))[0, :-1].log_softmax(-1):
            counted += 1
            for log in logs:
                [gradient] = torch.autograd.grad(log, [weight], retain_graph=True)
                exact += log.exp().detach() * gradient.square()
    assert torch.corrcoef(torch.stack([spring.stiffness.flatten(), exact.flatten()]))[0, 1] > 0.95
    torch.testing.assert_close(spring.stiffness.sum(), (exact / counted).sum(), rtol=0.15, atol=0)


@each
def test_what_is_merged_from_its_folder_is_the_base_and_the_update(name: str, tmp_path: Path):
    """Pitfall 22: to the bit. Beside QLoRA the base has the values in few bits that it was trained on, its sum with the
    update is not rounded again, and nothing else moves, the embedding of a tied head least of all."""
    adapter = METHODS[name].adapter
    model = taught(name, tmp_path / "run")
    METHODS[name].settle(model)
    file = written(name, tmp_path / "result", model)
    back = read(name, file.parent)
    if adapter is None or not adapter.merges:  # nothing to merge; another test says which refuse it
        assert not lora_layers(back)
        return
    expected = network()
    if name == "qlora":
        round_to_nf4(expected)
    with torch.no_grad():
        for path, layer in lora_layers(back).items():
            expected.get_submodule(path).weight.add_(layer.delta())
    assert lora_layers(back) and any(layer.delta().abs().max() > 1e-4 for layer in lora_layers(back).values())
    merged, wanted = values(merge_adapters(back)), values(expected)
    assert merged.keys() == wanted.keys() and all(torch.equal(one, wanted[key]) for key, one in merged.items())


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "lm_head"]], ids=["not named", "named"])
def test_an_adapter_on_a_tied_head_is_refused_and_the_embedding_stays(targets: list[str], tmp_path: Path):
    """Pitfall 15: as the head is the embedding, an update of it would change what every token is read as."""
    made = prepared("lora", targets=("q_proj",))
    file = written("lora", tmp_path / "result", made)
    said, bare = file.parent / CONFIG_FILE, network()
    said.write_text(json.dumps(json.loads(said.read_text()) | {"target_modules": targets}))
    rank, vocab, dim = 8, bare.config.vocab_size, bare.config.dim
    head = {"lora_A": torch.ones(rank, dim), "lora_B": torch.ones(vocab, rank)}
    save_file(load_file(file) | {f"base_model.model.lm_head.{key}.weight": one for key, one in head.items()}, file)
    with pytest.raises(ModelError, match="lm_head"):
        put_adapter(file.parent, bare)
    assert tied(bare) and not has_adapters(bare)
    assert torch.equal(bare.embedding.weight, network().embedding.weight)
