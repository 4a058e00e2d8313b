"""Models as one: the ways, the way back to the base, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path

import hearing
import pytest
import tiny
import torch
from adaptation.adapted import randomise_adapters

import lmworks as lm
from lmworks.adaptation.declaration import Setup
from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import add_lora, lora_layers
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.merge_settings import WAYS, MergeSettings
from lmworks.adaptation.merging import FUNCTIONS, merged
from lmworks.adaptation.methods.lora import LORA
from lmworks.adaptation.methods.qlora import QLORA, QLoRAConfig
from lmworks.adaptation.peft_format import write_adapter
from lmworks.adaptation.small_updates import MOST_LOST, merged_networks
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.cli import main
from lmworks.evaluation.likelihood import Likelihood
from lmworks.jobs.comparing import Texts, measure_texts
from lmworks.jobs.merge import merge
from lmworks.jobs.recipe import EvaluationSettings
from lmworks.language_model import LanguageModel
from lmworks.models.vision.config import BLOCKS, ImageConfig
from lmworks.models.vision.image_network import ImageNetwork
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.objectives import CausalLM
from lmworks.text.corpus.folder import read_split
from lmworks.vision_model import VisionModel

BASE, ONE, TWO = (torch.tensor(values) for values in ([1.0, 1, 1, 1], [2.0, 1, 0.5, 4], [0.0, 1, 0.7, 3]))


@pytest.mark.parametrize(
    ("way", "settings", "wanted"),
    [
        ("task", MergeSettings((1.0, 0.5)), [1.5, 1, 0.35, 5]),
        ("task", MergeSettings((1.0, 0.5), keep=0.5), [1.25, 1, 0.675, 3]),
        ("linear", MergeSettings((1.0, 3.0)), [0.5, 1, 0.65, 3.25]),
        ("linear", MergeSettings((1.0, 3.0), keep=0.0), [1.0, 1, 1, 1]),
        ("ties", MergeSettings((1.0, 1.0), density=0.25), [1, 1, 1, 3.5]),  # each keeps its largest, and both agree
        ("ties", MergeSettings((1.0, 0.9), density=0.5), [2, 1, 1, 3.4]),  # of 1 and -0.9 the first is elected
        ("dare", MergeSettings((1.0, 0.5), density=1.0), [1.5, 1, 0.35, 5]),
    ],
)
def test_each_way_is_its_formula(way: str, settings: MergeSettings, wanted: list[float]):
    torch.testing.assert_close(FUNCTIONS[way](BASE, [ONE, TWO], settings), torch.tensor(wanted))


def test_every_way_that_can_be_named_is_there():
    assert tuple(FUNCTIONS) == WAYS


def test_dare_keeps_the_mean_and_depends_on_its_seed():
    base, model = torch.zeros(200_000), torch.ones(200_000)
    settings = [MergeSettings((1.0,), density=0.1, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (FUNCTIONS["dare"](base, [model], one) for one in settings)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 10.0} and abs(first.mean() - 1) < 0.03


@pytest.mark.parametrize("way", WAYS)
def test_nothing_kept_is_the_base_to_the_bit_and_a_whole_single_model_is_itself(way: str):
    base, model = ({"w": torch.randn(64, generator=torch.Generator().manual_seed(seed))} for seed in (0, 1))
    assert torch.equal(dict(merged(base, [model], MergeSettings((1.0,), keep=0.0, way=way)))["w"], base["w"])
    assert torch.equal(dict(merged(base, [base], MergeSettings((1.0,), way=way)))["w"], base["w"])
    if way in ("task", "linear"):
        assert torch.equal(dict(merged(base, [model], MergeSettings((1.0,), way=way)))["w"], model["w"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, two adapters on it, and a model of another shape."""
    monkeypatch.chdir(tmp_path)
    tiny.language_model().save("base")
    for seed, name in enumerate(("one", "two")):
        model = lm.load("base", compress="none")
        randomise_adapters(add_lora(model.network, LoRAConfig(rank=2)), seed)
        Path(name).mkdir()
        write_adapter(Path(name), model.network, "base")
        model.write_tokenizer(Path(name))
    tiny.language_model(dim=16, heads=2, kv_heads=1).save("narrow")
    tiny.language_model(heads=2, kv_heads=1).save("heads")
    tiny.language_model(family="lmworks", arrangement="encoder").save("encoder")
    sees = ImageConfig(family="vit", image_size=16, patch_size=8, dim=32, layers=1, heads=4, **BLOCKS, pooler=True)
    VisionModel(ImageNetwork(sees), Preprocessing.plain(16, (0.5,) * 3, (0.5,) * 3)).save("sees")
    return tmp_path


def logits(model: LanguageModel) -> torch.Tensor:
    return model.logits(tiny.text(1, 12))


KINDS = {
    "lora": lambda network: add_lora(network, LoRAConfig(rank=2)),
    "rslora": lambda network: add_lora(network, LoRAConfig(rank=2, rank_stabilised=True)),
    "dora": lambda network: add_lora(network, LoRAConfig(rank=2), kind=DoRALinear),
    "qlora": lambda network: QLORA.prepare(Setup(network, CausalLM(), []), QLoRAConfig(rank=2)).network,
}


def made_adapter(name: str, kind: str = "lora", base: str = "base", size: float = 0.2) -> None:
    """A folder with an adapter, as after some training."""
    model = lm.load(base, compress="none")
    randomise_adapters(KINDS[kind](model.network), size=size)
    if kind == "qlora":
        QLORA.settle(model.network)
    Path(name).mkdir()
    (QLORA if kind == "qlora" else LORA).adapter.write(Path(name), model.network, base)
    model.write_tokenizer(Path(name))


@pytest.mark.parametrize("way", ["task", "linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_kept_whole_is_the_adapter_and_kept_not_at_all_the_base(folder: Path, kind: str, way: str):
    tiny.language_model(dim=64, heads=4, head_dim=16, hidden_dim=128).save("wide")  # whole blocks for NF4
    made_adapter("adapter", kind, "wide")
    whole, none = (merge(["adapter"], f"kept-{keep}", way=way, keep=keep) for keep in (1.0, 0.0))
    adapter, base, kept, left = (
        logits(lm.load(one, compress="none")) for one in ("adapter", "wide", whole.folder, none.folder)
    )
    assert (adapter - base).abs().max() > 0.1
    torch.testing.assert_close(kept, adapter, rtol=1e-4, atol=1e-4)
    assert torch.equal(left, base)
    said = json.loads((whole.folder / "lmworks.json").read_text())["merged"]
    assert said["way"] == way and list(said["models"]) == ["adapter"] and said["base"]["reference"] == "wide"
    assert said["dtype"] == "float32" and said["lost"] == {"float32": 0.0} and whole.measurements == []


@pytest.fixture
def short(folder: Path) -> Path:
    """A base in bfloat16, and an adapter that a short run left small."""
    base = tiny.language_model()
    base.network.to(torch.bfloat16)
    base.save("short")
    made_adapter("small", base="short", size=0.008)
    made_adapter("large", base="short", size=1.0)
    return folder


def share_lost(adapter: str, base: str, dtype: torch.dtype) -> float:
    """By the formula, over all matrices at once."""
    before = lm.load(base, compress="none").network
    layers = lora_layers(lm.load(adapter, compress="none").network)
    deltas = {path: layer.delta() for path, layer in layers.items()}
    weights = {path: before.get_submodule(path).weight.float() for path in deltas}
    missed = [(weights[path] + one).to(dtype).float() - weights[path] - one for path, one in deltas.items()]
    whole, of = (torch.cat([one.flatten() for one in many]).norm() for many in (missed, deltas.values()))
    return float(whole / of)


def test_a_small_update_is_written_in_float32_and_that_is_said(short: Path):
    wanted = share_lost("small", "short", torch.bfloat16)
    assert wanted > 0.3
    with pytest.warns(UserWarning, match=rf"^kept is in float32 \(.* KB\): bfloat16 would lose {wanted:.0%} of what"):
        made = merge(["small"], "kept")
    assert made.lost == pytest.approx(wanted, rel=1e-3)
    kept, exact = lm.load("kept"), lm.load("small", dtype="float32")
    assert kept.network.dtype == made.model.network.dtype == torch.float32
    torch.testing.assert_close(logits(kept), logits(exact), rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(made.model), logits(kept))
    said = json.loads((made.folder / "lmworks.json").read_text())["merged"]
    assert said["dtype"] == "float32" and said["lost"] == {"bfloat16": made.lost}


def test_the_command_line_says_so_too(short: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["lmworks", "merge", "small", "--out", "said", "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["dtype"] == "float32" and facts["lost"] > 0.3
    assert f"said is in float32 (97 KB): bfloat16 would lose {facts['lost']:.0%} of what was learnt" in told.err


def test_what_a_type_holds_is_written_in_it(short: Path):
    made, none, base = merge(["large"], "kept"), merge(["small"], "none", keep=0.0), lm.load("short")
    assert 0 < made.lost < MOST_LOST and made.lost == pytest.approx(
        share_lost("large", "short", torch.bfloat16), rel=1e-3
    )
    assert lm.load("kept").network.dtype == lm.load("none").network.dtype == torch.bfloat16
    assert torch.equal(logits(lm.load("none")), logits(base)) and none.lost == 0


def test_a_whole_model_of_more_digits_than_its_base_stays_itself(short: Path):
    lm.load("base").save("finer")
    merge(["finer"], "kept", base="short")
    assert torch.equal(logits(lm.load("kept")), logits(lm.load("finer")))
    merge(["finer"], "none", base="short", keep=0.0)
    assert torch.equal(logits(lm.load("none")), logits(lm.load("short")))


def test_each_share_is_measured_as_it_would_be_written(short: Path, monkeypatch: pytest.MonkeyPatch):
    Path("notes").mkdir()
    for number in range(12):
        (Path("notes") / f"{number}.txt").write_text(f"{number} " + " ".join(tiny.WORDS[number:] * 4))
    monkeypatch.setattr("lmworks.jobs.merge.UNRELATED", "notes")
    made = merge(["small"], "whole", text="notes", tokens=900)
    again = measure_texts(
        lm.load("whole"), {"held-out text": read_split("notes", 0.1)[1].held_out}, EvaluationSettings(tokens=900)
    )
    held_out = made.measured[1.0][0].after
    assert held_out.value == pytest.approx(again["held-out text"].bits_per_byte("x").value, rel=1e-6)


def test_two_adapters_are_added(folder: Path):
    made = merge(["one", "two"], "both", weights=[0.5, 0.5])
    one, two, base, both = (lm.load(name, compress="none").network for name in ("one", "two", "base", "both"))
    layer = "blocks.0.feed_forward.down"
    wanted = base.get_submodule(layer).weight + sum(
        0.5 * network.get_submodule(layer).delta() for network in (one, two)
    )
    torch.testing.assert_close(both.get_submodule(layer).weight, wanted)
    assert made.model.source == made.folder


@pytest.mark.parametrize(
    "models, settings, words",
    [
        ([], {}, "there is no model to merge"),
        (["one"], {"way": "soup"}, "'soup' is not a way to merge; it can be task, linear, ties, dare"),
        (["one"], {"weights": [1.0, 2.0]}, "2 weights were given, and the number of models is 1"),
        (["one"], {"keep": 1.5}, "keep is 1.5"),
        (["one"], {"density": 0.0}, "density is 0"),
        (["one"], {"way": "ties"}, "way is ties, which drops a part of each model so that several go together, and th"),
        (["one"], {"way": "dare", "density": 0.9}, "way is dare, .* there is one; take task or linear, or name more"),
        (["one", "two"], {"way": "linear", "weights": [1.0, -1.0]}, "the weights add up to 0"),
        (["nowhere"], {}, "nowhere is neither a known model nor a path"),
        (["base"], {}, "base does not say what it was made from; give it with --base"),
        (["narrow"], {"base": "base"}, r"narrow is of another shape than base \("),
        (["heads"], {"base": "base"}, r"heads is of another kind than base \(head_dim is 16 and not 8\)"),
        (
            ["encoder"],
            {"base": "base"},
            r"encoder is of another kind than base \(arrangement is 'encoder' and not 'dec",
        ),
        (["one"], {"weights": [float("nan")]}, "a weight is nan; give finite numbers"),
        (["one"], {"weights": [1e300]}, r"would not be finite: it is not in one of the models, or the weights are too"),
        (["sees"], {"base": "sees"}, "sees reads images, and models of text or sound alone are merged here"),
    ],
)
def test_what_does_not_go_together_is_one_sentence_and_nothing_is_written(folder, models, settings, words):
    before = sorted(folder.iterdir())
    with pytest.raises((ConfigError, ModelError), match=words):
        merge(models, "out", **settings)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--density", "0.5"), "--density is for --way ties and dare; leave it out, or take one of these"),
        (("two", "--way", "ties", "--seed", "4"), "--seed is for --way dare; leave it out"),
        (("--weights", "inf"), "a weight is inf"),
        (("--way", "dare"), "way is dare, which drops a part of each model"),
    ],
)
def test_an_option_that_would_not_count_is_refused(folder, given, words, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lmworks", "merge", "one", *given])
    with pytest.raises(SystemExit):
        main()
    assert words in capsys.readouterr().err and not Path("models").exists()


def test_both_texts_are_measured_at_several_shares(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("notes", "general"):
        Path(name).mkdir()
        for number in range(12):
            (Path(name) / f"{number}.txt").write_text(f"{name} {number} " + " ".join(tiny.WORDS[number:] * 4))
    monkeypatch.setattr("lmworks.jobs.merge.UNRELATED", "general")
    measured: list[int] = []

    def counted(model: LanguageModel, texts: Texts, settings: EvaluationSettings) -> dict[str, Likelihood]:
        measured.append(settings.tokens)
        return measure_texts(model, texts, settings)

    monkeypatch.setattr("lmworks.jobs.merge.measure_texts", counted)
    made = merge(["one"], "out", keep=0.6, text="notes", tokens=900)
    assert measured == [900] * 6  # the base once: of nothing kept it is known
    assert list(made.measured) == [0.0, 0.25, 0.5, 0.6, 0.75, 1.0]
    assert all(one.difference.value == 0 for one in made.measured[0.0])
    assert all(one.difference.value != 0 for one in made.measured[1.0])
    figures = {one.name: one for one in made.measurements}
    assert len(figures) == len(made.measurements) == 6 * 2 * 3
    assert figures["held-out text, change, 60% kept"].value == made.measured[0.6][0].difference.value
    facts = json.loads((made.folder / "lmworks.json").read_text())["measurements"]
    assert [{name: one for name, one in fact.items() if name != "kept"} for fact in facts] == [
        one.to_json() for one in made.measurements
    ]


def test_a_model_that_hears_stays_one(tmp_path: Path):
    heard = hearing.model()
    heard.save(tmp_path / "a")
    said = json.loads((tmp_path / "a" / "generation_config.json").read_text())
    (tmp_path / "a" / "generation_config.json").write_text(json.dumps({**said, "suppress_tokens": [1, 2]}))
    made = merge([tmp_path / "a"], tmp_path / "merged", base=str(tmp_path / "a"), keep=0.5).folder
    for name in ("preprocessor_config.json", "config.json"):
        assert json.loads((made / name).read_text()) == json.loads((tmp_path / "a" / name).read_text())
    assert json.loads((made / "generation_config.json").read_text())["suppress_tokens"] == [1, 2]


@pytest.mark.parametrize(("keep", "dtype"), [(0.5, torch.bfloat16), (1.0, torch.float32)])
def test_part_of_a_finer_model_has_the_bases_type_where_that_loses_little(keep: float, dtype: torch.dtype):
    base, finer = tiny.network(seed=0).to(torch.bfloat16), tiny.network(seed=1)
    made, share = merged_networks(base, [finer], MergeSettings((1.0,), keep=keep))
    assert share < 0.1 and {one.dtype for one in made.values() if one.is_floating_point()} == {dtype}


def test_where_wikitext_cannot_be_had_what_was_lost_is_the_drift_from_the_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LMWORKS_DATA", "")
    monkeypatch.setenv("LMWORKS_CACHE", str(folder / "empty-cache"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there: a machine without a network
    Path("notes").mkdir()
    for number in range(12):
        (Path("notes") / f"{number}.txt").write_text(f"{number} " + " ".join(tiny.WORDS[number:] * 4))
    command = ["lmworks", "merge", "one", "--keep", "0.6", "--text", "notes", "--tokens", "300"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="0"):
        main()
    told = capsys.readouterr()
    assert "drift from the base" in told.out and "wikitext2 is not on this machine" in told.err
    made = merge(["one"], "out", keep=0.6, text="notes", tokens=300)
    assert [one.text for one in made.measured[1.0]] == ["held-out text"]
    drifts = [one.value for one in made.drifts.values()]
    assert drifts[0] == pytest.approx(0) and min(drifts[1:]) > 0
    names = [one["name"] for one in json.loads((made.folder / "lmworks.json").read_text())["measurements"]]
    assert "drift from the base, 60% kept" in names and len(names) == 6 * 4
