"""A trained prompt: read before every text, however texts are laid out, and never seen by whoever reads the states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from adaptation.adapted import GPT2, packed
from safetensors.torch import load_file, save_file

from lmworks.adaptation.adapter_files import CONFIG, WEIGHTS
from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.lora import adapters_off, merge_adapters, remove_adapters
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.prompt_config import PromptConfig
from lmworks.adaptation.prompt_tuning import VECTORS, add_prompt, write_prompt
from lmworks.adaptation.reading import put_adapter
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.evaluation.exact import exactly_answered
from lmworks.jobs.build import check_fit
from lmworks.jobs.learning import Learning
from lmworks.jobs.planning.adapting import adapted_memory
from lmworks.jobs.planning.workload import usual_objective
from lmworks.jobs.recipe import Recipe
from lmworks.kernels.coverage import uncovered
from lmworks.models.files.directory import write_network
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.training.by_hand.fused_block import use_fused_blocks
from lmworks.training.optimiser import trainable
from lmworks.training.settings import TrainingConfig

KINDS: dict[str, dict[str, Any]] = {"llama": {}, "gpt2": GPT2, "window": {"window": 7}}
each_kind = pytest.mark.parametrize("kind", KINDS)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def led(length: int = 5, **settings: Any) -> Network:
    """A network with a prompt that does something."""
    network = add_prompt(tiny.network(**settings), PromptConfig(length=length), seed=1)
    with torch.no_grad():
        network.prompt.vectors.add_(
            torch.randn(network.prompt.vectors.shape, generator=torch.Generator().manual_seed(2))
        )
    return network.eval()


def test_it_starts_as_tokens_of_the_vocabulary_and_is_all_that_is_trained():
    network, tokens = add_prompt(tiny.network(), PromptConfig(length=3), seed=1), tiny.text(2, 9)
    assert set(trainable(network)) == {"prompt.vectors"} and network.prompt.vectors.dtype == torch.float32
    drawn = torch.randint(network.config.vocab_size, (3,), generator=torch.Generator().manual_seed(1))
    longer = torch.cat([drawn.expand(2, -1), tokens], dim=1)
    torch.testing.assert_close(network(tokens), tiny.network()(longer)[:, 3:], **CLOSE)


@each_kind
def test_packed_padded_cached_and_single_texts_agree(kind: str):
    network = led(**KINDS[kind])
    texts = [tiny.text(1, size, seed=size)[0] for size in (9, 4, 12)]
    alone = [network(text[None])[0] for text in texts]
    assert (alone[0] - tiny.network(**KINDS[kind])(texts[0][None])[0]).abs().max() > 0.1
    row = torch.cat([*texts, torch.zeros(3, dtype=torch.long)])[None]
    documents = torch.tensor([0] * 9 + [1] * 4 + [2] * 12 + [-1] * 3)[None]
    torch.testing.assert_close(network(row, documents=documents)[0, :25], torch.cat(alone), **CLOSE)
    for side in ("left", "right"):
        pads = [(12 - len(text), 0) if side == "left" else (0, 12 - len(text)) for text in texts]
        tokens = torch.stack([torch.nn.functional.pad(text, pad) for text, pad in zip(texts, pads, strict=True)])
        real = torch.stack(
            [torch.nn.functional.pad(torch.ones_like(text), pad) for text, pad in zip(texts, pads, strict=True)]
        ).bool()
        logits = network(tokens, real)
        for number, one in enumerate(alone):
            torch.testing.assert_close(logits[number][real[number]], one, **CLOSE)
    cache = network.new_cache(1)
    parts = [network(part[None], cache=cache)[0] for part in texts[2].split(5)]
    torch.testing.assert_close(torch.cat(parts), alone[2], **CLOSE)
    cache.truncate(3)
    torch.testing.assert_close(network(texts[2][None, 3:], cache=cache)[0], alone[2][3:], **CLOSE)
    cache.cut([6])
    torch.testing.assert_close(network(texts[2][None, 6:], cache=cache)[0], alone[2][6:], **CLOSE)
    cache.truncate(0)
    torch.testing.assert_close(network(texts[2][None], cache=cache)[0], alone[2], **CLOSE)


def test_texts_that_are_written_side_by_side_are_those_written_alone():
    model = tiny.language_model(context=128)
    model.network = add_prompt(model.network, PromptConfig(length=4), seed=1).requires_grad_(False)
    model.choose_runner()
    prompts = [[5, 6, 7], [9, 3, 2, 1, 8, 4, 20, 33], [11]]
    together = model.generate_batch(prompts, max_new_tokens=12)
    assert [one.tokens for one in together] == [
        model.generate_batch([prompt], max_new_tokens=12)[0].tokens for prompt in prompts
    ]


def test_it_takes_its_tokens_of_what_the_model_reads():
    model = tiny.language_model(**GPT2, context=64)
    assert model.longest == 64
    model.network = add_prompt(model.network, PromptConfig(length=10), seed=1).requires_grad_(False)
    model.choose_runner()
    assert model.longest == 54 and model.config.context == 64
    prompt = tiny.text(1, 50)[0].tolist()
    answer = model.generate_batch([prompt], max_new_tokens=60)[0]
    assert len(answer.tokens) == 4 and answer.finish == "window"
    with pytest.raises(ConfigError, match="the prompt has 55 tokens and the model reads 54; shorten it"):
        model.generate_batch([[*prompt, *prompt[:5]]], max_new_tokens=1)
    slid = model.generate_batch([prompt], max_new_tokens=30, window="slide")[0]
    assert len(slid.tokens) == 30
    assert len(model.score("words that go on " * 20).logprobs) > 300  # by windows, each of which leaves it its room
    said = ({"role": "user", "content": "x"}, {"role": "assistant", "content": "y" * 40})
    with pytest.raises(DataError, match=r"a record has \d+ tokens, and the model reads 54"):
        exactly_answered(model, [Document("", "facts.jsonl#1", messages=said)], "facts", 1_000)


@pytest.mark.parametrize("context", [60, 61])
def test_rows_that_do_not_fit_beside_it_are_refused_before_training_and_by_a_plan(context: int):
    config = tiny.network(context=64).config
    chosen, training = Chosen(METHODS["prompt"], PromptConfig(length=4)), TrainingConfig(context=context, rows=1)
    if context == 60:
        assert adapted_memory(config, training, "float32", chosen, objective=usual_objective(config)).peak > 0
        return
    words = (
        "training.context is 61, and beside a trained prompt of 4 the model reads 60 tokens; give training.context=60"
    )
    with pytest.raises(ConfigError, match=words):
        adapted_memory(config, training, "float32", chosen, objective=usual_objective(config))
    recipe = Recipe(method="prompt", prompt={"length": 4}, training={"context": context})
    with pytest.raises(ConfigError, match=words):
        check_fit(recipe, tiny.language_model(context=64), Learning())


def test_blocks_by_hand_give_autograds_gradient():
    plain, fused, batch = led().train(), led().train(), packed((33, 20), (50,))
    assert use_fused_blocks(fused, False)
    for network in (plain, fused):
        CausalLM()(network, batch).mean.backward()
    assert plain.prompt.vectors.grad.abs().max() > 1e-3
    torch.testing.assert_close(fused.prompt.vectors.grad, plain.prompt.vectors.grad, rtol=1e-4, atol=1e-5)
    assert all(one.grad is None for name, one in fused.named_parameters() if name != "prompt.vectors")


def test_off_and_taken_off_it_is_the_base_to_the_bit():
    network, tokens = led(), tiny.text(2, 20)
    base = tiny.network()(tokens)
    with adapters_off(network):
        assert torch.equal(network(tokens), base)
    assert not torch.equal(network(tokens), base)
    with pytest.raises(ConfigError, match=r"a trained prompt is read before each text .* cannot be merged"):
        merge_adapters(network)
    assert torch.equal(remove_adapters(network)(tokens), base) and network.prompt is None


def test_it_is_saved_as_an_adapter_and_not_as_if_the_network_had_none(tmp_path: Path):
    with pytest.raises(ModelError, match="has adapters on"):
        write_network(tmp_path, led())
    assert uncovered(led(dim=64, hidden_dim=64).requires_grad_(False)) == (
        "the compiled path begins no text with a trained prompt"
    )


@pytest.mark.parametrize(
    "settings, tensors, words",
    [
        ({}, {VECTORS: None}, f"lacks {VECTORS} (1 missing, 0 unexpected)"),
        ({}, {"other": torch.ones(1)}, "holds other, which this model has no place for"),
        ({}, {VECTORS: torch.ones(5, 33)}, f"{VECTORS} has the shape [5, 33], and this model needs [5, 32]"),
        ({}, {VECTORS: torch.full((5, 32), torch.inf)}, "holds values that are not finite"),
        ({"num_virtual_tokens": 10**9}, {}, "has 5 rows, and adapter_config.json says num_virtual_tokens = 1000000000"),
        ({"num_virtual_tokens": "some"}, {}, "length is 'some'"),
        ({"num_transformer_submodules": 2}, {}, "num_transformer_submodules = 2 is not supported"),
    ],
)
def test_a_spoilt_one_is_one_sentence_and_the_network_stays(settings: dict, tensors: dict, words: str, tmp_path: Path):
    write_prompt(tmp_path, led(), "base")
    (tmp_path / CONFIG).write_text(json.dumps(json.loads((tmp_path / CONFIG).read_text()) | settings))
    changed = load_file(tmp_path / WEIGHTS) | tensors
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, tmp_path / WEIGHTS)
    network = tiny.network()
    with pytest.raises(ModelError) as caught:
        put_adapter(tmp_path, network)
    assert words in str(caught.value) and str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert network.prompt is None


@pytest.mark.parametrize(
    "settings, length, words",
    [
        ({"arrangement": "encoder", "family": "lmworks"}, 4, r"^length: .* decoder's text, and this is an encoder"),
        ({"ngrams": (2,), "family": "lmworks"}, 4, "embeddings of n-grams; take lora"),
        ({"context": 64}, 64, "length is 64, and the network reads 64 tokens; leave room"),
    ],
)
def test_what_it_cannot_stand_before_is_refused(settings: dict, length: int, words: str):
    with pytest.raises(ConfigError, match=words):
        add_prompt(tiny.network(**settings), PromptConfig(length=length))
