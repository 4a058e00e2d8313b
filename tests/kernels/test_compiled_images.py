"""Images on the compiled path: vectors in the place of the rows of a packed embedding."""

from __future__ import annotations

import pytest
import tiny
import torch

pytest.importorskip("numba")

from lmworks.basics.errors import ConfigError
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.request import WithImages
from lmworks.generation.strategies import Beam, Greedy, Sample, Strategy
from lmworks.kernels import unavailable
from lmworks.kernels.runner import CompiledRunner
from lmworks.models.image_reader import ImageLayers, ImageReader

if unavailable() is not None:
    pytest.skip(str(unavailable()), allow_module_level=True)

SHAPE = {"family": "llama", "dim": 64, "heads": 4, "kv_heads": 2, "hidden_dim": 96, "context": 256}


def reading(bits: int = 8, **shape: object) -> tuple[CompiledRunner, list[list[int]]]:
    """A runner that holds three images, and their ids."""
    network = tiny.network(**(SHAPE | shape)).requires_grad_(False)
    runner = CompiledRunner(network, bits)
    torch.manual_seed(0)
    network.image_reader = ImageReader(
        ImageLayers(10, 6, 20, network.config.embedding_width), network.config.vocab_size
    )
    runner.take_images(network.image_reader.seen)
    return runner, network.image_reader.remember(torch.randn(3, 10))


@torch.no_grad()
@pytest.mark.parametrize("scaled", [False, True])
def test_states_are_those_of_pytorch(scaled: bool):
    """Where the network multiplies its tokens' embeddings, an image's vectors stay as they are."""
    runner, (first, second, _) = reading(scale_embedding=scaled)
    rows = torch.tensor([[4, *first, 5, 6], [4, *second, 5, 6], [7, *range(20), 8, 9]])
    ours, theirs = runner.hidden(rows), runner.plain.hidden(rows)
    assert float((ours - theirs).norm() / theirs.norm()) < 0.06
    assert float((ours[0, -1] - ours[1, -1]).norm() / theirs[0, -1].norm()) > 0.1, "of another image"
    assert runner.stands(), "a reader is none of the weights that were compiled"


@torch.no_grad()
def test_a_text_without_images_is_read_as_before():
    plain = CompiledRunner(tiny.network(**SHAPE).requires_grad_(False), 8)
    tokens = tiny.text(2, 40)
    assert torch.equal(reading()[0].hidden(tokens), plain.hidden(tokens))


def test_answers_about_images_are_the_same_alone_and_beside_others():
    """Beginnings that are kept are those of the same image, and of no other."""
    model = tiny.language_model(**SHAPE)
    model.runner = CompiledRunner(model.network.requires_grad_(False), 8)
    torch.manual_seed(0)
    reader = ImageReader(ImageLayers(10, 6, 70, 64), model.config.vocab_size)  # longer than a page
    model.runner.take_images(reader.seen)
    prompts = [WithImages([*one, 5, 6]) for one in reader.remember(torch.randn(3, 10))] + [[5, 6, 7]]
    chosen = Sample(temperature=1.0, seed=3)
    alone = [model.generate(one, chosen, max_new_tokens=12).tokens for one in prompts]
    assert len({tuple(one) for one in alone}) == 4
    with Engine(model, seats=4) as engine:
        for _ in range(2):  # the second time from what was kept
            asked = [engine.submit(one, chosen, max_new_tokens=12) for one in prompts]
            assert [one.answer().tokens for one in asked] == alone


@pytest.mark.parametrize("strategy", [Beam(width=2, repetition_penalty=1.3), Greedy(repetition_penalty=1.3), Greedy()])
def test_penalties_and_guesses_look_back_at_words_alone(strategy: Strategy):
    model = tiny.language_model(**SHAPE)
    model.runner = CompiledRunner(model.network.requires_grad_(False), 8)
    torch.manual_seed(0)
    reader = ImageReader(ImageLayers(10, 6, 4, 64), model.config.vocab_size)
    model.runner.take_images(reader.seen)
    [ids] = reader.remember(torch.randn(1, 10))
    prompt = WithImages([5, 6, *ids, 7, 8, 9, 5, 6])  # as if the image came again
    guess = None if isinstance(strategy, Beam) else Lookup()
    answer = model.generate(prompt, strategy, max_new_tokens=12, guess=guess)
    assert answer.tokens and max(answer.tokens) < model.config.vocab_size
    assert answer.tokens == model.generate(prompt, strategy, max_new_tokens=12).tokens


def test_ids_of_images_count_in_prompts_that_show_some_alone():
    """Whoever sends token ids must not read what another showed."""
    model = tiny.language_model(**SHAPE)
    with pytest.raises(ConfigError, match="the prompt names the token 300"):
        model.generate([5, 300])


@torch.no_grad()
def test_an_id_that_no_image_has_is_said():
    runner, ids = reading()
    with pytest.raises(ConfigError, match="is past the vocabulary"):
        runner.hidden(torch.tensor([[3, ids[-1][-1] + 1]]))
    with pytest.raises(ConfigError, match="-3"):
        runner.hidden(torch.tensor([[3, -3]]))
    plain = CompiledRunner(tiny.network(**SHAPE).requires_grad_(False), 8)
    with pytest.raises(ConfigError, match="the vocabulary has 96"):
        plain.hidden(torch.tensor([[3, 96]]))
