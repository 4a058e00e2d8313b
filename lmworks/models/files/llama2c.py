"""llama2.c's files: a Llama's weights in float32, and a SentencePiece vocabulary with its scores.

    network = read_llama2c(Path("stories260K.bin").read_bytes())
    vocabulary = llama2c_vocabulary(Path("tok512.bin").read_bytes(), "stories260k")

Source: https://github.com/karpathy/llama2.c (`export.py`, version 0, and `tokenizer.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.files.gguf_facts import CONTROL, NORMAL, UNKNOWN
from lmworks.models.files.gguf_vocabulary import read_vocabulary
from lmworks.models.network import Network
from lmworks.tokens.vocabulary import Vocabulary

HEADER = struct.Struct("<7i")
UNKNOWN_ID, BOS, EOS, BYTES = 0, 1, 2, range(3, 259)
BYTE = 6
"""The type of a token that stands for a byte, as GGUF counts them."""


def read_llama2c(content: bytes) -> Network:
    """The network of a weights file, in float32. ModelError where its size is not what its header says."""
    config, tied = _config(content)
    tensors = _Tensors(content)
    layers, pairs = config.layers, config.head_dim // 2
    network = Network(config).requires_grad_(False).eval()
    state: dict[str, Tensor] = {"embedding.weight": tensors.take(config.vocab_size, config.dim)}
    norms = tensors.take(layers, config.dim)
    query = tensors.take(layers, config.heads * config.head_dim, config.dim)
    key = tensors.take(layers, config.kv_heads * config.head_dim, config.dim)
    value = tensors.take(layers, config.kv_heads * config.head_dim, config.dim)
    output = tensors.take(layers, config.dim, config.heads * config.head_dim)
    later = tensors.take(layers, config.dim)
    gate = tensors.take(layers, config.hidden_dim, config.dim)
    down = tensors.take(layers, config.dim, config.hidden_dim)
    up = tensors.take(layers, config.hidden_dim, config.dim)
    state["norm.weight"] = tensors.take(config.dim)
    tensors.take(2, config.context, pairs)  # the rotations, which we work out
    if not tied:
        state["head.weight"] = tensors.take(config.vocab_size, config.dim)
    for at in range(layers):
        block = f"blocks.{at}"
        turned = _halves(query[at], config.heads), _halves(key[at], config.kv_heads), value[at]
        state |= {
            f"{block}.attention_norm.weight": norms[at],
            f"{block}.attention.qkv.weight": torch.cat(turned),
            f"{block}.attention.output.weight": output[at],
            f"{block}.feed_forward_norm.weight": later[at],
            f"{block}.feed_forward.up.weight": torch.cat([gate[at], up[at]]),
            f"{block}.feed_forward.down.weight": down[at],
        }
    tensors.end()
    network.load_state_dict(state)
    return network


def llama2c_vocabulary(content: bytes, name: str) -> Vocabulary:
    """The vocabulary of a tokenizer file; a story ends where the next would begin. ModelError for a file that is cut
    off."""
    pieces = list(_pieces(content, name))
    tokens = [piece.replace(" ", "▁") for piece, _ in pieces]
    tokens[:3] = ["<unk>", "<s>", "</s>"]
    tokens[BYTES.start : BYTES.stop] = [f"<0x{number - BYTES.start:02X}>" for number in BYTES]
    facts = {
        "model": "llama",
        "tokens": tokens,
        "scores": [score for _, score in pieces],
        "token_type": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * len(BYTES), *[NORMAL] * (len(tokens) - BYTES.stop)],
        "unknown_token_id": UNKNOWN_ID,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "eot_token_id": BOS,
    }
    return read_vocabulary(_File(Path(name), {f"tokenizer.ggml.{key}": value for key, value in facts.items()}))


@dataclass(frozen=True)
class _File:
    path: Path
    metadata: dict[str, Any]


class _Tensors:
    """The file's numbers, one tensor after another."""

    def __init__(self, content: bytes) -> None:
        self.numbers = torch.frombuffer(bytearray(content[HEADER.size :]), dtype=torch.float32)
        self.at = 0

    def take(self, *shape: int) -> Tensor:
        size = int(torch.Size(shape).numel())
        self.at += size
        if self.at > len(self.numbers):
            raise _wrong_size()
        return self.numbers[self.at - size : self.at].view(shape)

    def end(self) -> None:
        if self.at != len(self.numbers):
            raise _wrong_size()


def _config(content: bytes) -> tuple[ModelConfig, bool]:
    if len(content) < HEADER.size or len(content) % 4:
        raise _wrong_size()
    dim, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack_from(content)
    tied = vocabulary > 0
    config = ModelConfig(
        family="llama",
        vocab_size=abs(vocabulary),
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        hidden_dim=hidden,
        context=context,
        tied=tied,
    )
    return config, tied


def _halves(weight: Tensor, heads: int) -> Tensor:
    """Rows that turn in neighbouring pairs, in our order: the first of each pair, then the second ones."""
    rows, dim = weight.shape
    return weight.view(heads, rows // heads // 2, 2, dim).transpose(1, 2).reshape(rows, dim)


def _pieces(content: bytes, name: str) -> Iterator[tuple[str, float]]:
    at = 4
    try:
        while at < len(content):
            score, size = struct.unpack_from("<fi", content, at)
            at += 8 + size
            if size < 0 or at > len(content):
                raise ValueError
            yield content[at - size : at].decode(), score
    except (struct.error, ValueError):
        raise ModelError(f"{name}'s tokenizer ends in the middle of a piece; fetch or copy it again") from None


def _wrong_size() -> ModelError:
    return ModelError("the weights in llama2.c's format have another size than their header says; fetch them again")
