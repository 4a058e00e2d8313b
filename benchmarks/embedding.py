"""Paragraphs as vectors: all-MiniLM-L6-v2 by lmworks and by sentence-transformers, on 64 paragraphs of XQuAD.

`python -m benchmarks embed`. Both read the same weights and cut a text behind 256 tokens; tokenizing is part of the time.
`rate` is tokens a second (padding not counted), `texts` paragraphs a second, `cosine` the smallest to sentence-transformers
in float32. Needs sentence-transformers.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARAGRAPHS = 64
REPEATS = 9


def paragraphs() -> list[str]:
    """The first 64."""
    for place in os.environ.get("LMWORKS_DATA", "").split(os.pathsep):
        path = Path(place) / "xquad" / "xquad.en.json"
        if path.is_file():
            articles = json.loads(path.read_text(encoding="utf-8"))["data"]
            return [part["context"] for article in articles for part in article["paragraphs"]][:PARAGRAPHS]
    raise SystemExit("this benchmark reads xquad from LMWORKS_DATA")


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


def embedded(embed: Callable[[list[str]], Any]) -> dict[str, float]:
    """Speed over all paragraphs, and how near the vectors are to the reference."""
    import torch

    import lmworks as lm

    texts = paragraphs()
    tokens = sum(min(len(ids), 256) for ids in lm.load("minilm").tokenizer.encode_batch(texts))
    near = torch.cosine_similarity(embed(texts).float(), peer()(texts)).min().item()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        embed(texts)
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    return {"rate": tokens / middle, "best": tokens / min(seconds), "texts": len(texts) / middle, "cosine": near}


WORKLOADS: dict[str, Callable[[], dict[str, float]]] = {
    "embed/lmworks": lambda: embedded(ours()),
    "embed/lmworks int8": lambda: embedded(ours(compress="int8")),
    "embed/lmworks bf16": lambda: embedded(ours(compress="none")),
    "embed/lmworks fp32": lambda: embedded(ours("float32")),
    "embed/sentence-transformers fp32": lambda: embedded(peer()),
    "embed/sentence-transformers bf16": lambda: embedded(peer("bfloat16")),
}
