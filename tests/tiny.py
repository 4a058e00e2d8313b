"""Small networks, texts and a byte tokenizer for tests; no weight is left at its initial value."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from torch import Tensor, nn

from lmworks.language_model import LanguageModel
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.ngram_embedding import count_ngrams
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


WORDS = [
    *("the", "model", "reads", "a", "folder", "of", "text", "and", "learns"),
    *("how", "its", "words", "follow", "each", "other", "on", "every", "page"),
]
"""What small texts are made of."""

OWN = {
    "family": "lmworks",
    "norm_weight": False,
    "qk_norm": True,
    "attention_scale": 0.4,
    "activation": "relu_squared",
    "gated": False,
    "embedding_norm": "rms",
    "ngrams": (2000, 3000),
    "logit_cap": 5.0,
}
"""Every choice that no public family has."""


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter, norms and biases too, values that a wrong mapping would show."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        is_norm = "norm" in name or ".ln_" in name  # around what it begins with: 1, or 0 for Gemma's 1 + weight
        centre = weight.mean().round() if is_norm else 0.0
        weight.copy_(0.2 * torch.randn(weight.shape, generator=generator) + centre)


def network(seed: int = 0, **settings: object) -> Network:
    """A network of two layers, grouped queries and random weights, in evaluation mode."""
    small = {
        "vocab_size": 96,
        "dim": 32,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "hidden_dim": 48,
        "context": 128,
    }
    made = Network(ModelConfig(**(small | settings)))
    if made.ngram_embedding is not None:  # the most frequent ones of a text
        most = max(made.config.ngrams)
        counted = count_ngrams(
            text(1, 40 * most, made.config.vocab_size)[0], made.config.vocab_size, len(made.config.ngrams) + 1, most
        )
        made.ngram_embedding.know([keys[:size] for keys, size in zip(counted, made.config.ngrams, strict=True)])
    randomise(made, seed)
    return made.eval()


def text(batch: int, seq: int, vocab: int = 96, seed: int = 0) -> Tensor:
    """Random token ids."""
    return torch.randint(0, vocab, (batch, seq), generator=torch.Generator().manual_seed(seed))


def byte_tokenizer() -> Tokenizer:
    """A token for every byte, and three special ones: an emoji is four tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(
        models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    end = backend.token_to_id("<|im_end|>")
    return Tokenizer(Vocabulary(backend, name="bytes", bos=None, eos=end, pad=end, chat_template=CHATML))


def language_model(seed: int = 0, **settings: object) -> LanguageModel:
    """A random network that reads bytes."""
    tokenizer = byte_tokenizer()
    return LanguageModel(network(seed, **({"vocab_size": tokenizer.vocab_size} | settings)), tokenizer)


def embedder(folder: Path) -> str:
    """The path of a random encoder that reads bytes, saved there."""
    language_model(family="lmworks", arrangement="encoder", context=256).save(folder)
    return str(folder)


def clip(folder: Path) -> str:
    """The path of a random CLIP whose texts are bytes, saved there."""
    from lmworks.models.vision.preprocessing import Preprocessing
    from lmworks.models.vision.towers import Towers
    from lmworks.models.vision.towers_config import clip_config
    from lmworks.vision_model import VisionModel

    tokenizer = byte_tokenizer()
    sizes = {"image_size": 16, "patch_size": 8, "dim": 32, "layers": 1, "heads": 4}
    towers = Towers(clip_config(tokenizer.vocab_size, tokenizer.eos, **sizes, context=24, width=24))
    randomise(towers)
    prepared = Preprocessing.plain(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    VisionModel(towers.eval().requires_grad_(False), prepared, tokenizer).save(folder)
    return str(folder)
