"""InfoNCE and the sigmoid loss: equal to the published ones, and blind to pairs that are too much alike."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.models.vision.towers import Towers
from lmworks.models.vision.towers_config import clip_config
from lmworks.objectives import InfoNCE, Sigmoid
from lmworks.objectives.contrast import info_nce, sigmoid_loss
from lmworks.tokens.batch import Batch

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def logits(count=6, seed=0):
    return 5 * torch.randn(count, count, generator=torch.Generator().manual_seed(seed))


def towers(sigmoid=False):
    config = clip_config(
        vocab_size=20, end_token=1, image_size=8, patch_size=4, dim=16, layers=1, heads=2, context=4, width=16,
        sigmoid=sigmoid,
    )  # fmt: skip
    return Towers(config).initialise(seed=0)


def batch(count=5, seed=0, groups=None):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, 20, (count, 4), generator=draw)
    tokens[:, -1] = 1
    pixels = torch.rand(count, 3, 8, 8, generator=draw)
    zeros = torch.zeros_like(tokens)
    return Batch(tokens, zeros - 100, zeros, zeros, pixels=pixels, groups=groups)


def clip_loss(images, texts, scale):
    """open_clip's ClipLoss on one device."""
    own = torch.arange(len(images))
    return (F.cross_entropy(scale * images @ texts.T, own) + F.cross_entropy(scale * texts @ images.T, own)) / 2


def siglip_loss(images, texts, scale, bias):
    """open_clip's SigLipLoss on one device: labels of -1, and 1 on the diagonal."""
    similar = scale * images @ texts.T + bias
    labels = -torch.ones_like(similar) + 2 * torch.eye(len(images))
    return -F.logsigmoid(labels * similar).sum() / len(images)


def test_the_losses_are_those_of_open_clip():
    draw = torch.Generator().manual_seed(1)
    images, texts = (F.normalize(torch.randn(7, 12, generator=draw), dim=-1) for _ in range(2))
    torch.testing.assert_close(info_nce(14.3 * images @ texts.T) / 7, clip_loss(images, texts, 14.3), **CLOSE)
    similar = 10 * images @ texts.T - 10
    torch.testing.assert_close(sigmoid_loss(similar) / 7, siglip_loss(images, texts, 10, -10), **CLOSE)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_losses_are_those_of_transformers(kind):
    import transformers

    name = {"clip": "CLIP", "siglip": "Siglip"}[kind]
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 20, "max_position_embeddings": 4, "eos_token_id": 1, "projection_dim": 16}
    config = getattr(transformers, f"{name}Config")(
        text_config=text, vision_config=small | {"image_size": 8, "patch_size": 4, "projection_dim": 16}
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(config).eval()
    given = batch()
    with torch.no_grad():
        out = model(input_ids=given.tokens, pixel_values=given.pixels, return_loss=True)
    ours = {"clip": info_nce, "siglip": sigmoid_loss}[kind](out.logits_per_image) / 5
    torch.testing.assert_close(ours, out.loss, **CLOSE)


@settings(max_examples=10)
@given(st.permutations(range(5)))
def test_permuting_captions_permutes_the_similarities(order):
    network, given = towers(), batch()
    with torch.no_grad():
        plain, permuted = network(given.pixels, given.tokens), network(given.pixels, given.tokens[list(order)])
    torch.testing.assert_close(permuted, plain[:, list(order)], **CLOSE)


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_the_order_of_the_pairs_does_not_matter(loss):
    given, order = logits(), [3, 1, 5, 0, 2, 4]
    groups = torch.tensor([0, 1, 0, 2, 3, 3])
    torch.testing.assert_close(loss(given[order][:, order], groups[order]), loss(given, groups), **CLOSE)


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_what_is_too_much_alike_is_no_negative(loss):
    """Whatever the similarity of a caption that repeats, or of a sibling, the loss and its gradient stay."""
    groups = torch.tensor([0, 1, 0, 2, 3, 4])  # rows 0 and 2
    given = logits().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(given, groups), given)
    assert gradient[0, 2] == gradient[2, 0] == 0 and gradient.isfinite().all()
    assert (gradient.abs() > 0).sum() == 34
    moved = given.detach().clone()
    moved[0, 2] = moved[2, 0] = 50.0
    torch.testing.assert_close(loss(moved, groups), loss(given, groups), **CLOSE)
    assert not torch.isclose(loss(moved), loss(given))


@pytest.mark.parametrize("loss", [info_nce, sigmoid_loss])
def test_groups_of_one_change_nothing(loss):
    torch.testing.assert_close(loss(logits(), torch.arange(6)), loss(logits()), rtol=0, atol=0)


def test_one_pair_alone_has_nothing_to_be_told_from():
    assert info_nce(torch.tensor([[3.0]])) == 0
    assert info_nce(logits(2), torch.tensor([7, 7])) == 0
    assert info_nce(torch.zeros(8, 8)) / 8 == pytest.approx(math.log(8))


def test_an_objective_is_the_mean_over_its_pairs_and_counts_them():
    given = batch(groups=torch.tensor([0, 0, 1, 2, 3]))
    for objective, network, loss in ((InfoNCE(), towers(), info_nce), (Sigmoid(), towers(sigmoid=True), sigmoid_loss)):
        found = objective(network, given)
        expected = loss(network(given.pixels, given.tokens), given.groups) / 5
        torch.testing.assert_close(found.mean, expected)
        assert objective.counts(given) == (5,) == found.counts


def test_the_scale_stays_below_a_hundred():
    network = towers()
    network.scale.data.fill_(9.0)
    InfoNCE()(network, batch())
    assert network.scale.exp().item() == pytest.approx(100)


def test_a_batch_without_images_is_one_sentence():
    plain = batch()
    with pytest.raises(ConfigError, match="InfoNCE compares texts with images, and the batch has no images"):
        InfoNCE()(towers(), Batch(plain.tokens, plain.labels, plain.positions, plain.documents))


def test_texts_differ_where_one_token_begins_and_ends_them():
    """The end that stands for a text is not the token before it: every text would have the same vector."""
    from lmworks.encoding.seeing import embed_texts
    from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

    tokenizer = train_tokenizer([], TokenizerConfig(kind="byte"))
    assert tokenizer.document_start == tokenizer.document_end is not None
    config = clip_config(tokenizer.vocab_size, tokenizer.document_end, dim=16, layers=1, heads=2, width=16)
    first, second = embed_texts(Towers(config).initialise(seed=0), tokenizer, ["a cat", "a dog"])
    assert first @ second < 0.999


@pytest.mark.parametrize("sigmoid", [False, True])
def test_fresh_towers_depend_on_their_seed_alone(sigmoid):
    first, second = towers(sigmoid), towers(sigmoid)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name


def test_a_batch_moves_with_its_images():
    given = batch(groups=torch.arange(5)).to("cpu")
    assert given.pixels is not None and given.groups is not None


def test_fresh_vectors_of_images_differ():
    """Where all of them are one, the loss stands still until the class token sees the patches."""
    config = clip_config(20, 1, image_size=16, patch_size=4, dim=64, layers=2, heads=2, context=4, width=64)
    images = torch.ones(6, 3, 16, 16)
    for at, image in enumerate(images):
        image[at % 3, at : at + 8, 4:12] = -1.0
    vectors = torch.nn.functional.normalize(Towers(config).initialise(seed=0).encode_images(images), dim=-1)
    near = (vectors @ vectors.T)[~torch.eye(6, dtype=torch.bool)]
    assert near.mean() < 0.99
