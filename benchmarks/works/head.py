"""Training with a vocabulary of 50,000 words on a CPU: one softmax over all of them against an adaptive softmax.

Real text, 2.35 million words: Brown, the State of the Union and inaugural addresses, Genesis, WikiText-2 and
Shakespeare, every tenth document held out. Both heads see the same batches for the same number of steps, with the same
settings; the facts are tokens a second over whole steps (network, loss, gradients, AdamW) and held-out perplexity.
"""

from __future__ import annotations

import gzip
import math
import random
import re
import statistics
import time
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.work import Facts, Side, Work, data

VOCABULARY, CUTOFFS = 50_000, (2_000, 10_000)
ROWS, CONTEXT, STEPS, HELD_OUT = 16, 64, 150, 60
"""A step is 16 x 64 tokens; perplexity is measured on 60 such batches."""


def documents() -> list[str]:
    """The texts, in an order that depends on nothing but a seed."""
    folder = data("books_and_speeches").parent
    texts = [*_zipped(folder / "books_and_speeches"), *_articles(folder), *_plays(folder)]
    random.Random(0).shuffle(texts)
    return texts


def _zipped(folder: Path) -> Iterator[str]:
    for name, wanted in (
        ("brown", r"brown/c[a-r]\d\d"),
        ("state_union", r".*\.txt"),
        ("inaugural", r".*\.txt"),
        ("genesis", r".*english.*\.txt"),
    ):
        with zipfile.ZipFile(folder / f"{name}.zip") as archive:
            for path in archive.namelist():
                if re.fullmatch(wanted, path):
                    text = archive.read(path).decode("utf-8", "replace")
                    # Brown's words carry their part of speech: The/at Fulton/np-tl.
                    yield " ".join(word.rpartition("/")[0] for word in text.split()) if name == "brown" else text


def _articles(folder: Path) -> list[str]:
    with gzip.open(folder / "wikitext2" / "valid.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    return re.split(r"\n \n(?= = [^=])", text)


def _plays(folder: Path) -> list[str]:
    text = (folder / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    return [text[start : start + 20_000] for start in range(0, len(text), 20_000)]


def examples() -> tuple[list[Any], list[Any]]:
    """Documents as word ids, to train on and held out; ids come in the order of the alphabet, as any order may."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from lmworks.tokens.batch import Example

    texts = documents()
    learnt = [text for number, text in enumerate(texts) if number % 10]
    backend = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=VOCABULARY, special_tokens=["[UNK]"]))
    backend.model = models.WordLevel(
        {word: number for number, word in enumerate(sorted(backend.get_vocab()))}, unk_token="[UNK]"
    )

    def encoded(chosen: list[str]) -> list[Any]:
        lists = [encoding.ids for encoding in backend.encode_batch(chosen)]
        return [Example(ids, [False] + [True] * (len(ids) - 1), "text") for ids in lists if len(ids) > 1]

    return encoded(learnt), encoded([text for number, text in enumerate(texts) if number % 10 == 0])


def trained(kind: str, seed: int = 0, steps: int = STEPS) -> Facts:
    """Train a network of 4 layers x 256 with one kind of head (adaptive, untied, tied)."""
    from lmworks.basics.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    from lmworks.models.config import ModelConfig
    from lmworks.models.network import Network
    from lmworks.objectives import CausalLM
    from lmworks.tokens.batch import batches, pack
    from lmworks.training.optimiser import trainable
    from lmworks.training.optimisers.adamw import adamw
    from lmworks.training.settings import TrainingConfig

    learnt, held_out = examples()
    network = Network(
        ModelConfig(
            vocab_size=VOCABULARY,
            dim=256,
            layers=4,
            heads=4,
            hidden_dim=768,
            context=CONTEXT,
            tied=kind == "tied",
            adaptive_cutoffs=CUTOFFS if kind == "adaptive" else None,
        )
    ).initialise(seed)
    if kind == "adaptive":
        ids = torch.tensor([token for example in learnt for token in example.tokens])
        network.head.order_by(torch.bincount(ids, minlength=VOCABULARY))
    config = TrainingConfig(learning_rate=1e-3, steps=steps, warmup=0.1, weight_decay=0.1)
    objective, optimiser = CausalLM(), adamw(trainable(network), config)
    rows, seconds = pack(learnt, CONTEXT, seed=0), []
    network.train()
    epochs = (batch for epoch in range(1_000) for batch in batches(rows, ROWS, seed, epoch))
    for step, batch in enumerate(islice(epochs, steps)):
        start = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate_at(step, steps)
        objective(network, batch).mean.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        seconds.append((time.perf_counter() - start) / batch.supervised)
    network.eval()
    with torch.no_grad():
        losses = [
            objective(network, batch)
            for batch in islice(batches(pack(held_out, CONTEXT, seed=0), ROWS, 0, 0), HELD_OUT)
        ]
    mean = sum(float(loss.total) for loss in losses) / sum(loss.count for loss in losses)
    return {"value": 1 / statistics.median(seconds[3:]), "perplexity": round(math.exp(mean), 2)}


HEAD = Work(
    "head",
    (
        Side("lmworks", "adaptive", lambda: trained("adaptive")),
        Side("full softmax", "untied", lambda: trained("untied")),
        Side("full softmax", "tied", lambda: trained("tied")),
    ),
)
