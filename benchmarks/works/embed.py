"""Paragraphs as vectors: all-MiniLM-L6-v2 by lmworks and by sentence-transformers, on 64 paragraphs of XQuAD.

`python -m benchmarks embed`. Both read the same weights and cut a text after 256 tokens; tokenizing is part of the
time. `cosine` is the smallest to sentence-transformers in float32. Needs sentence-transformers.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.work import Facts, Side, Work, data

PARAGRAPHS = 64
REPEATS = 9


def paragraphs() -> list[str]:
    """The first 64."""
    articles = json.loads(data("xquad/xquad.en.json", "google-deepmind/xquad").read_text(encoding="utf-8"))["data"]
    return [part["context"] for article in articles for part in article["paragraphs"]][:PARAGRAPHS]


def peer(dtype: str = "float32") -> Callable[[list[str]], Any]:
    """sentence-transformers with its own defaults but for the number format."""
    import torch
    from sentence_transformers import SentenceTransformer

    from lmworks.models.files.references import resolve

    settings = {"dtype": getattr(torch, dtype)}
    model = SentenceTransformer(str(resolve("minilm")), device="cpu", model_kwargs=settings)
    return lambda texts: model.encode(texts, show_progress_bar=False, convert_to_tensor=True)


def ours(dtype: str | None = None, compress: str | None = None) -> Callable[[list[str]], Any]:
    """`model.embed`; what is the default here unless something is given."""
    import lmworks as lm

    model = lm.load("minilm", dtype=dtype, compress=compress)
    return lambda texts: model.embed(texts, cut=True)


def embedded(embed: Callable[[list[str]], Any]) -> Facts:
    """Speed over all paragraphs, and how near the vectors are to the reference."""
    import torch

    texts = paragraphs()
    near = torch.cosine_similarity(embed(texts).float(), peer()(texts)).min().item()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        embed(texts)
        seconds.append(time.perf_counter() - start)
    return {"value": len(texts) / statistics.median(seconds), "cosine": round(near, 6)}


PEERS = (
    Side("sentence-transformers", "bf16", lambda: embedded(peer("bfloat16"))),
    Side("sentence-transformers", "fp32", lambda: embedded(peer())),
)
COMPILED = Work(
    "embed, compiled", (Side("lmworks", "8 bits", lambda: embedded(ours(compress="int8"))), *PEERS), unit="texts/s"
)
PYTORCH = Work(
    "embed, PyTorch",
    (
        Side("lmworks", "bf16", lambda: embedded(ours(compress="none"))),
        Side("lmworks", "fp32", lambda: embedded(ours("float32"))),
        *PEERS,
    ),
    unit="texts/s",
)
