"""Beam search of a translator: 16 sources of 8 to 40 tokens, 5 beams each, 48 tokens a target.

Marian's published shape (OPUS-MT: 6 + 6 layers of 512, vocabulary 58,101) with random weights, the same on both sides.
No token ends an answer, so that both write the same number of tokens; only those of the best answers are counted.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.work import Facts, Side, Work, repeated

SOURCES, WIDTH, NEW, VOCABULARY = 16, 5, 48, 58_101
SHAPE = {
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "max_position_embeddings": 512,
    "activation_function": "swish",
    "scale_embedding": True,
    "decoder_start_token_id": VOCABULARY - 1,
    "pad_token_id": VOCABULARY - 1,
    "forced_eos_token_id": None,
    "eos_token_id": None,
}


def sources() -> list[list[int]]:
    """The same for everybody."""
    draw = random.Random(0)
    return [[draw.randrange(100, 50_000) for _ in range(draw.randint(8, 40))] for _ in range(SOURCES)]


def folder() -> Path:
    """The model as a Hugging Face directory."""
    import torch
    import transformers

    from lmworks.basics.files import cache_folder

    place = cache_folder("benchmarks") / "marian"
    if not place.exists():
        torch.manual_seed(0)
        transformers.MarianMTModel(transformers.MarianConfig(vocab_size=VOCABULARY, **SHAPE)).save_pretrained(place)
    return place


def ours(dtype: str) -> Facts:
    """Through the loop and the texts' decoders."""
    import torch

    from lmworks.generation.decoding import decode, start
    from lmworks.generation.request import Request
    from lmworks.generation.strategies import Beam
    from lmworks.models.files.directory import read_network
    from lmworks.models.torch_runner import TorchRunner
    from lmworks.tokens.tokenizer import Tokenizer

    runner, tokenizer = TorchRunner(read_network(folder(), getattr(torch, dtype))), _bytes()
    assert isinstance(tokenizer, Tokenizer)

    def work() -> None:
        opening, strategy = [VOCABULARY - 1], Beam(width=WIDTH)
        requests = [Request(tokenizer, opening, strategy, NEW, [], 512, source=source) for source in sources()]
        sequences = [start(request, runner) for request in requests]
        for _ in decode(runner, sequences):
            pass
        assert all(len(sequence.tokens) == NEW for sequence in sequences)

    return repeated(work, SOURCES * NEW, times=3)


def theirs(dtype: str) -> Facts:
    """transformers' generate."""
    import torch
    import transformers

    model = transformers.MarianMTModel.from_pretrained(folder(), dtype=getattr(torch, dtype)).eval()
    longest = max(map(len, sources()))
    ids = torch.tensor([source + [VOCABULARY - 1] * (longest - len(source)) for source in sources()])
    mask = (ids != VOCABULARY - 1).long()

    def work() -> None:
        out = model.generate(
            input_ids=ids, attention_mask=mask, num_beams=WIDTH, max_new_tokens=NEW, do_sample=False, eos_token_id=None
        )
        assert out.shape == (SOURCES, NEW + 1)

    return repeated(work, SOURCES * NEW, times=3)


def _bytes() -> Any:
    """A tokenizer without an end."""
    import tokenizers
    from tokenizers import decoders, models

    from lmworks.tokens.tokenizer import Tokenizer
    from lmworks.tokens.vocabulary import Vocabulary

    backend = tokenizers.Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(Vocabulary(backend, name="bytes"))


BEAMS = Work(
    "beams",
    (
        Side("lmworks", "bf16", lambda: ours("bfloat16")),
        Side("lmworks", "fp32", lambda: ours("float32")),
        Side("transformers", "bf16", lambda: theirs("bfloat16")),
        Side("transformers", "fp32", lambda: theirs("float32")),
    ),
)
