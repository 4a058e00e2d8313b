"""Ways to keep what a model could do: the sums they add, and what they leave alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
from adaptation.adapted import adapted, packed, randomise_adapters
from jobs import small_builds
from safetensors.torch import load_file

from lmworks.adaptation.declaration import Original, Setup
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.elastic import Elastic, Spring
from lmworks.adaptation.fisher import diagonal_fisher
from lmworks.adaptation.frozen import FrozenLinear
from lmworks.adaptation.lora import LoRALinear, adapters_off, lora_layers
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.methods.lora import LORA
from lmworks.adaptation.methods.qlora import QLoRAConfig
from lmworks.adaptation.near_base import NearBase, base_predictions
from lmworks.adaptation.nf4 import round_to_nf4
from lmworks.adaptation.old_text import rows_read
from lmworks.adaptation.retention import RETENTIONS
from lmworks.adaptation.retention.ewc import EWCConfig
from lmworks.adaptation.retention.kl import KLConfig
from lmworks.adaptation.retention.rehearsal import RehearsalConfig
from lmworks.adaptation.springs import added, springs_of
from lmworks.basics.errors import ConfigError, DataError
from lmworks.jobs.build import build
from lmworks.jobs.recipe import Recipe
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.objectives.divergence import Predictions, divergence
from lmworks.tokens.batch import Example, pack

TINY = {"vocab_size": 6, "dim": 16, "layers": 1, "heads": 2, "kv_heads": 1, "hidden_dim": 16, "context": 32}


def rows(count: int = 3, length: int = 5, vocab: int = 6) -> list:
    return pack(
        [Example(one.tolist(), [False] + [True] * (length - 1), "random") for one in tiny.text(count, length, vocab)],
        length,
        seed=0,
    )


def original(network: Network) -> Original:
    model = tiny.language_model()
    model.network = network
    return Original(model, LORA.adapter, context=32, measured=frozenset())


@pytest.mark.parametrize("cap", [None, 3.0], ids=["plain", "capped"])
def test_the_distance_and_its_gradients_are_those_of_the_formula(cap: float | None):
    generator = torch.Generator().manual_seed(0)
    base, states = (torch.randn(600, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    old, head = (torch.randn(20, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    counted = torch.arange(600) % 3 != 0

    def capped(logits: torch.Tensor) -> torch.Tensor:
        return logits if cap is None else cap * (logits / cap).tanh()

    results = []
    for own in (True, False):
        one, two = states.clone().requires_grad_(), head.clone().requires_grad_()
        if own:
            total = divergence(Predictions(base, old, cap), Predictions(one, two, cap), counted)
        else:
            p = capped(base @ old.T)[counted].log_softmax(1)
            q = capped(one @ two.T)[counted].log_softmax(1)
            total = torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum")
        (3 * total).backward()
        results.append((total, one.grad, two.grad))
    for ours, formula in zip(*results, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-9, atol=1e-9)


def test_an_untrained_adapter_is_at_no_distance_and_a_trained_one_is_pulled_back():
    network, batch = adapted(), packed((33, 20), (50,))
    near = NearBase(strength=0.5, base=base_predictions(network, adapters_off))
    far = near(network, batch)
    assert far.counts == near.counts(batch) == (batch.supervised, batch.supervised)
    assert far.total == CausalLM()(network, batch).total
    with torch.no_grad(), adapters_off(network):
        wanted = network(batch.tokens).log_softmax(-1)
    own = network(batch.tokens).log_softmax(-1)
    kl = (wanted.exp() * (wanted - own)).sum(-1)
    first = batch.labels[0] != -100
    assert far.others[0].total > 0.5 * kl[0][first][:5].sum() > 0
    for layer in lora_layers(network).values():
        for up in layer.up:
            up.data.zero_()
    assert NearBase(strength=0.5, base=base_predictions(network, adapters_off))(network, batch).others[0].total < 1e-5


def test_where_weights_are_trained_a_copy_is_the_base():
    network, batch = tiny.network(tied=False), packed((20,))
    near = NearBase(strength=1.0, base=base_predictions(network, None))
    assert near(network, batch).others[0].total.abs() < 1e-5
    with torch.no_grad():
        network.head.weight += 0.1 * torch.randn(network.head.weight.shape)
    near(network, batch).others[0].total.backward()
    assert near(network, batch).others[0].total > 0.01 and network.head.weight.grad.abs().sum() > 0


def exact_fisher(network: Network, every: list, parameters: list) -> list[torch.Tensor]:
    """By every label of every token, weighted by its probability."""
    totals, counted = [torch.zeros(one.shape) for one in parameters], 0
    for row in every:
        [example] = row
        tokens = torch.tensor([example.tokens])
        predicted = network(tokens)[0, :-1].log_softmax(-1)
        for logs in predicted:
            counted += 1
            for log in logs:
                found = torch.autograd.grad(log, parameters, retain_graph=True)
                for number, gradient in enumerate(found):
                    totals[number] += log.exp().detach() * gradient.square()
    return [total / counted for total in totals]


@pytest.mark.parametrize(
    "times, close", [(80, 0.1), pytest.param(8000, 0.01, marks=pytest.mark.slow)], ids=["about", "to one percent"]
)
@pytest.mark.parametrize("kind", ["whole", "lora", "dora", "qlora"])
def test_the_fisher_information_is_that_of_every_label_counted(kind: str, times: int, close: float):
    """Squares of a batch's mean are a fourth of it, and true labels give another thing."""
    plain, every = tiny.network(**TINY, tied=False), rows()
    paths = ["blocks.0.attention.output", "blocks.0.feed_forward.up"]
    network = plain.requires_grad_(True) if kind == "whole" else moved(kind, **TINY, tied=False)
    if kind == "qlora":
        round_to_nf4(plain)
    parameters = [plain.get_submodule(path).weight.requires_grad_(True) for path in paths]
    wanted = exact_fisher(plain, every, parameters)
    if kind == "whole":
        found = diagonal_fisher(network, every * times, parameters, seed=0)
    else:
        springs = dict(zip(lora_layers(network), springs_of(network, every * times, seed=0), strict=True))
        found = [springs[path].stiffness for path in paths]
    for one, exact in zip(found, wanted, strict=True):
        assert one.sum() == pytest.approx(float(exact.sum()), rel=close)
        assert torch.corrcoef(torch.stack([one.flatten(), exact.flatten()]))[0, 1] > 0.97


SIZES = {"dim": 64, "hidden_dim": 128}
"""Matrices of whole blocks of NF4."""
KINDS = {"lora": LoRAConfig, "dora": METHODS["dora"].settings, "qlora": QLoRAConfig}
"""Adapters that move weights."""
each_kind = pytest.mark.parametrize("kind", KINDS)


def moved(kind: str, **settings: object) -> Network:
    """A network with adapters of a kind, as after some training."""
    network = tiny.network(**(SIZES | settings))
    METHODS[kind].prepare(Setup(network, CausalLM(), []), KINDS[kind](rank=4, alpha=8))
    return randomise_adapters(network)


def moved_by(layer: LoRALinear) -> torch.Tensor:
    """The weight with its adapter, less the base's, by ordinary autograd and the formulas of the papers."""
    weight = layer.base.weight.detach().to(layer.down.dtype)
    change = torch.zeros_like(weight)
    for number, (part, down, up) in enumerate(zip(layer.parts, layer.down.split(layer.rank), layer.up, strict=True)):
        own = weight[part.rows]
        wanted = own + layer.scale * up @ down
        if isinstance(layer, DoRALinear):
            wanted = layer.magnitude[number][:, None] * wanted / wanted.norm(dim=1, keepdim=True)
        change[part.rows] = wanted - own
    return change


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_springs_pull_by_half_the_stiffness_times_the_squared_distance(kind: str, dtype: torch.dtype):
    network = moved(kind).to(dtype)
    layers = list(lora_layers(network).values())
    own = [one for layer in layers for one in layer.own()]
    springs = [
        Spring(torch.rand(layer.base.out_features, layer.base.in_features, dtype=dtype), layer=layer)
        for layer in layers
    ]
    pull = Elastic(springs, 2.0)(network, packed((20,))).mean
    pull.backward()
    ours = [one.grad.clone() for one in own]
    network.zero_grad()
    wanted = torch.stack([(one.stiffness * moved_by(one.layer).square()).sum() for one in springs]).sum()
    wanted.backward()
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(pull, wanted, **close)
    for one, parameter in zip(ours, own, strict=True):
        size = parameter.grad.abs().max()
        torch.testing.assert_close(one / size, parameter.grad / size, **close)


@each_kind
def test_an_adapter_that_has_learnt_nothing_is_not_pulled(kind: str):
    network = tiny.network(**SIZES)
    METHODS[kind].prepare(Setup(network, CausalLM(), []), KINDS[kind](rank=4, alpha=8))
    pull = Elastic(springs_of(network, rows(vocab=96), seed=0), 1000.0)(network, packed((20,)))
    pull.mean.backward()
    assert pull.mean < 1e-8
    assert max(float(one.grad.abs().max()) for one in network.parameters() if one.requires_grad) < 1e-4


@pytest.mark.parametrize("kind", [*KINDS, "whole"])
def test_springs_are_measured_on_the_base_and_leave_the_network_as_it_was(kind: str):
    """The base that runs: of QLoRA, that of the values in 4 bits."""
    network = moved(kind) if kind in KINDS else tiny.network(**SIZES).requires_grad_(True)
    before = {name: (one.requires_grad, one.clone()) for name, one in network.named_parameters()}
    modules = dict(network.named_modules())
    springs = springs_of(network, rows(vocab=96), seed=0)
    assert springs and all(spring.stiffness.sum() > 0 for spring in springs)
    assert dict(network.named_modules()) == modules
    for name, one in network.named_parameters():
        assert one.requires_grad == before[name][0] and torch.equal(one, before[name][1]) and one.grad is None
    if kind == "whole":
        assert Elastic(springs, 1.0)(network, packed((20,))).mean == 0
        return
    plain = tiny.network(**SIZES)
    if kind == "qlora":
        assert any(isinstance(one, FrozenLinear) for one in modules.values())
        round_to_nf4(plain)
    weights = [plain.get_submodule(path).weight.requires_grad_(True) for path in lora_layers(network)]
    wanted = diagonal_fisher(plain, rows(vocab=96), weights, seed=0)
    for spring, one in zip(springs, wanted, strict=True):
        torch.testing.assert_close(spring.stiffness, one, rtol=1e-4, atol=1e-9)


def test_rehearsal_mixes_its_share_in():
    network = adapted(vocab_size=259)
    new = rows(count=8, length=32, vocab=259)
    setup = Setup(network, CausalLM(), new)
    mixed = RETENTIONS["rehearsal"].prepare(setup, original(network), RehearsalConfig(share=0.2))
    assert len(mixed.rows) == 10 and mixed.rows[:8] == new
    assert {example.source for row in mixed.rows[8:] for example in row} == {"written by the model"}


@pytest.mark.parametrize("retain", ["rehearsal", "ewc"])
@pytest.mark.parametrize("text", ["notes", "../retention/general"])
def test_a_text_with_what_measures_the_model_is_never_learnt(text, retain, folder, monkeypatch):
    """Neither the general text by another path, nor the new text with its held-out documents."""
    monkeypatch.chdir(folder)
    text = text.replace("../retention", f"../{folder.name}")
    chosen = small_builds.recipe().but(retain=retain, **{retain: {"text": text}})
    with pytest.raises(ConfigError, match=rf"{retain}\.text is {text}, which holds .*by which the model is measured"):
        build(out=f"refused-{retain}", recipe=chosen)
    assert not Path(f"refused-{retain}").exists()


def test_of_old_conversations_those_that_cannot_be_learnt_are_left_out_and_named(tmp_path: Path):
    """One that the template refuses would stop the run after its base was measured."""
    asked, answer = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ann."}
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat.source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('Start with the user.') }}{% endif %}" + tiny.CHATML
    )
    chats = [[{"role": "system", "content": "Be brief."}, asked, answer], [asked], [asked, answer]]
    path = tmp_path / "old.jsonl"
    path.write_text("\n".join(json.dumps({"messages": one}) for one in chats))
    with pytest.warns(
        UserWarning, match=r"old.jsonl: 2 conversations left out; the first: old.jsonl#1: the chat templ"
    ):
        [[learnt]] = rows_read(str(path), frozenset(), tokenizer, 4, 160, 0)
    assert learnt.source == "old.jsonl#3"
    path.write_text(json.dumps({"messages": chats[1]}))
    with pytest.raises(
        DataError, match=r"old.jsonl holds nothing to learn: old.jsonl#1: the assistant answers nothing"
    ):
        rows_read(str(path), frozenset(), tokenizer, 4, 160, 0)


@pytest.mark.parametrize("kind", ["bottleneck", "prompt"])
def test_adapters_that_move_no_weight_are_refused(kind: str):
    network = adapted()
    other = Original(original(network).model, METHODS[kind].adapter, 32, frozenset())
    with pytest.raises(ConfigError, match=rf"springs that hold the base's weights, and {kind} moves none of these"):
        RETENTIONS["ewc"].prepare(Setup(network, CausalLM(), rows()), other, EWCConfig())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("retention")
    small_builds.prepare(made)
    return made


TABLE = Path(__file__).parents[2] / "docs" / "adapting.md"


def said_to_go_together() -> dict[tuple[str, str], bool]:
    """By method and retention, what the handbook's table says."""
    lines = TABLE.read_text(encoding="utf-8").split("reads this table):\n\n")[1].split("\n\n")[0].splitlines()
    cells = [[one.strip().strip("`") for one in line.strip("|").split("|")] for line in lines]
    (_, *retentions), _, *rows = cells
    assert {one for _, *row in rows for one in row} == {"yes", "refused"}
    return {
        (method, retain): says == "yes" for method, *row in rows for retain, says in zip(retentions, row, strict=True)
    }


def test_the_handbook_names_every_method_and_retention():
    assert said_to_go_together().keys() == {(method, retain) for method in METHODS for retain in RETENTIONS}


@pytest.mark.parametrize("retain", RETENTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_a_build_keeps_by_it_or_says_in_a_sentence_why_not(
    method: str, retain: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    recipe = small_builds.recipe(method, steps=2).but(evaluation={"tokens": 200, "window": 128})
    way = {"retain": retain, **({"ewc": {"tokens": 200}} if retain == "ewc" else {})}
    out, said = f"{method}-{retain}", list[str]()
    if not said_to_go_together()[method, retain]:
        with pytest.raises(
            ConfigError,
            match=rf"^{retain}\.\w+ .*; take (lora, dora.*, or )?rehearsal or kl beside",
        ) as refused:
            build(out=out, recipe=recipe.but(**way), say=said.append)
        assert "\n" not in str(refused.value) and not any(line.startswith("to train") for line in said)
        assert not Path(out).exists()
        return
    result = build(out=out, recipe=recipe.but(**way))
    assert result.recipe.retain == retain and len(result.comparisons) == 2
    written = Recipe(**result.recipe.model_dump())
    assert written.chosen.retention is RETENTIONS[retain]
    assert Path(f"{out}/lmworks.json").is_file()


def test_a_strong_pull_moves_predictions_less(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    free = build(out="free", recipe=small_builds.recipe(steps=8))
    held = build(out="held", recipe=small_builds.recipe(steps=8).but(retain="kl", kl=KLConfig(strength=50.0)))
    base = tiny.language_model(context=160)
    moved = [
        float((small_builds.logits(one.model).softmax(-1) - small_builds.logits(base).softmax(-1)).abs().mean())
        for one in (free, held)
    ]
    assert moved[1] < 0.5 * moved[0]


def test_a_table_of_what_was_not_chosen_and_an_unknown_name_are_refused():
    with pytest.raises(ConfigError, match=r"the table kl is for retain = 'kl', and retain is 'nothing'"):
        Recipe(kl={"strength": 1.0})
    with pytest.raises(ConfigError, match=r"retain is 'ewcs'; did you mean 'ewc'\? it can be ewc, kl, nothing, reh"):
        Recipe(retain="ewcs")


def test_every_layer_of_an_adapted_network_has_a_spring():
    network = adapted()
    springs = springs_of(network, rows(vocab=96), seed=0)
    assert [type(spring.layer) for spring in springs] == [LoRALinear] * len(lora_layers(network))


def test_online_springs_are_a_running_sum_over_tasks(tmp_path: Path):
    network = tiny.network(**TINY)
    tasks = [rows(2), rows(3)]
    alone = [springs_of(network, one, seed=0) for one in tasks]
    kept, later = (str(tmp_path / name) for name in ("first", "second"))
    base = original(network)
    for number, settings in enumerate((EWCConfig(kept=kept), EWCConfig(earlier=kept, decay=0.5, kept=later))):
        object.__setattr__(base, "old_rows", lambda text, count, seed, number=number: tasks[number])
        setup = RETENTIONS["ewc"].prepare(Setup(network, CausalLM(), tasks[0]), base, settings)
    found = load_file(later)
    for at, (first, second) in enumerate(zip(*alone, strict=True)):
        expected = 0.5 * first.stiffness + second.stiffness
        torch.testing.assert_close(found[str(at)].float(), expected, rtol=1e-2, atol=1e-8)
    assert setup.objective is not None
    (tmp_path / "other").write_text("no springs")
    for path, sentence in ((str(tmp_path / "other"), "holds no springs"), (str(tmp_path / "none"), "holds no springs")):
        with pytest.raises(ConfigError, match=sentence):
            added(alone[0], path, 1.0)
    with pytest.raises(ConfigError, match="springs are of other matrices"):
        added(alone[0][1:], kept, 1.0)
