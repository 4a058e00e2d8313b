"""The model that runs in the pages: stories260K, a Llama of 260,000 weights that writes stories for children.

model = stories()                       # a LanguageModel; DataError where it is not here and cannot be fetched
script()                                # the file that the pages load when a bench is first touched
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lmworks.basics.errors import DataError
from lmworks.text.entry import Entry
from lmworks.text.registry import content_of

if TYPE_CHECKING:
    from torch import Tensor

    from lmworks.language_model import LanguageModel

NAME = "stories260k"
FILE = f"{NAME}.js"
"""What the pages call the file with the weights."""
WEIGHTS = Entry(
    folder=NAME,
    repository="DaveBben/esp32-llm",
    commit="934dab4d242d259abd88678488ea3b62d4fca601",
    path="data/stories260K.bin",
    sha256="b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696",
    bytes=1_056_540,
    licence="MIT (karpathy/llama2.c, tinyllamas)",
    what="stories260K: a Llama of 260,000 weights that writes stories for children",
)
PIECES = Entry(
    folder=NAME,
    repository=WEIGHTS.repository,
    commit=WEIGHTS.commit,
    path="data/tok512.bin",
    sha256="037cb335abb25d1fa9e8ecae30ed2a3a8ace9302862ebcdc05d51a6bbb10c312",
    bytes=6_227,
    licence=WEIGHTS.licence,
    what="its 512 tokens",
)


@functools.cache
def stories(fetch: bool = True) -> LanguageModel:
    """The model, in float32. DataError where it is not here and, with `fetch`, could not be fetched."""
    weights, pieces = (content_of(NAME, one, fetch) for one in (WEIGHTS, PIECES))

    from lmworks.language_model import LanguageModel
    from lmworks.models.files.llama2c import llama2c_vocabulary, read_llama2c
    from lmworks.tokens.tokenizer import Tokenizer

    return LanguageModel(read_llama2c(weights), Tokenizer(llama2c_vocabulary(pieces, NAME)), reference=NAME)


def missing(fetch: bool = False) -> str:
    """Why the pages go without the model; empty where it is here (or, with `fetch`, was fetched)."""
    try:
        for one in (WEIGHTS, PIECES):
            content_of(NAME, one, fetch)
    except DataError as error:
        return str(error)
    return ""


def pieces_of(model: LanguageModel) -> list[str]:
    """The vocabulary's pieces by id; a space is ▁."""
    vocabulary = model.tokenizer.vocabulary.backend.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def text_of(model: LanguageModel, tokens: Sequence[int]) -> str:
    """What these tokens add to a text, its first space included and its end left out."""
    before = model.tokenizer.encode("a", special=False)
    return model.tokenizer.decode([*before, *tokens])[1:]


def queries_and_keys(model: LanguageModel, tokens: Sequence[int], layer: int, head: int) -> tuple[Tensor, Tensor]:
    """What one head compares, rotated: queries and keys [seq, head_dim]."""
    import torch

    from lmworks.models.hooks import hooked

    seen: dict[str, Tensor] = {}
    attention = f"blocks.{layer}.attention"
    readers = {f"{attention}.{name}": functools.partial(seen.__setitem__, name) for name in ("query", "key")}
    with torch.no_grad(), hooked(model.network, readers):
        model.network.hidden(torch.tensor([tokens]))
    group = head * model.config.kv_heads // model.config.heads
    return seen["query"][0, head], seen["key"][0, group]


@functools.cache
def script() -> bytes:
    """The model as a script that hands its shape, its tokens and its weights (float32, base64) to `lmworksWeights`."""
    model = stories(fetch=False)
    config, state = model.config, model.network.state_dict()
    names = ["embedding.weight"]
    for at in range(config.layers):
        parts = ("attention_norm", "attention.qkv", "attention.output", "feed_forward_norm")
        names += [f"blocks.{at}.{part}.weight" for part in (*parts, "feed_forward.up", "feed_forward.down")]
    weights = b"".join(state[name].numpy().astype("<f4").tobytes() for name in [*names, "norm.weight"])
    described = json.loads(model.tokenizer.vocabulary.backend.to_str())["model"]
    facts = {
        "name": model.reference,
        "dim": config.dim,
        "hidden": config.hidden_dim,
        "layers": config.layers,
        "heads": config.heads,
        "kvHeads": config.kv_heads,
        "headDim": config.head_dim,
        "context": config.context,
        "theta": config.rope_theta,
        "eps": config.norm_eps,
        "bos": model.tokenizer.bos,
        "ends": sorted(model.tokenizer.stop_ids),
        "pieces": pieces_of(model),
        "merges": [pair if isinstance(pair, list) else pair.split(" ") for pair in described["merges"]],
        "weights": base64.b64encode(weights).decode(),
    }
    return f"lmworksWeights({json.dumps(facts, ensure_ascii=True)});\n".encode()


def in_place_of(model: LanguageModel, weights: Mapping[str, Tensor]) -> LanguageModel:
    """A copy of the model with some weights in place of its own."""
    import copy

    from lmworks.language_model import LanguageModel

    network = copy.deepcopy(model.network)
    network.load_state_dict({**network.state_dict(), **weights})
    return LanguageModel(network, model.tokenizer, reference=model.reference)
