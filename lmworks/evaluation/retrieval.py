"""Retrieval: how often the right caption of an image is among the k that a model finds nearest, and the other way.

    figures = retrieval("unseen concepts", similarities, texts, families, ks=(1, 5))

Candidates are all captions (images) given. Captions that are equal are all right. Where several candidates are as
near, the right one comes where chance would put it: a model that says the same of everything scores as a guess does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmworks.basics.arrays import Bool, Float
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement


def found(
    similarities: Float[np.ndarray, "queries candidates"], right: Bool[np.ndarray, "queries candidates"], k: int
) -> Float[np.ndarray, " queries"]:
    """For each query the probability that a right candidate is among the k nearest, ties in a random order."""
    best = np.where(right, similarities, -np.inf).max(axis=1, keepdims=True)
    nearer = (~right & (similarities > best)).sum(axis=1)
    wrong, tied = (~right & (similarities == best)).sum(axis=1), (similarities == best).sum(axis=1)
    missed = np.ones(len(similarities))
    for drawn in range(k):  # the places that the nearer ones leave among the k go to the tied, each once
        none_right = np.maximum(wrong - drawn, 0) / np.maximum(tied - drawn, 1)
        missed *= np.where(nearer + drawn < k, none_right, 1.0)
    return 1.0 - missed


def retrieval(
    name: str,
    parts: Sequence[Float[np.ndarray, "images texts"]],
    captions: Sequence[Sequence[str]],
    families: Sequence[Sequence[str]],
    ks: Sequence[int] = (1, 5),
    seeds: tuple[int, ...] = (0,),
) -> list[Measurement]:
    """R@k of images by their captions and of captions by their images, over several sets of candidates (one for each
    style, say), each with the captions of its images and their families. The interval is over families, of which one
    is in several sets and has several siblings."""
    figures = []
    clusters = [family for part in families for family in part]
    for direction, turned in (("words find the image", True), ("the image finds words", False)):
        for k in ks:
            hits, chances = [], []
            for similar, texts in zip(parts, captions, strict=True):
                right = np.asarray(texts)[:, None] == np.asarray(texts)[None, :]
                hits.append(found(similar.T if turned else similar, right, k))
                chances.append(found(np.zeros_like(similar), right, k))
            mean = statistics.clustered_mean(np.concatenate(hits), clusters)
            value, interval = statistics.within(mean, (0, 1), len(set(clusters)))
            figures.append(
                Measurement(
                    name=f"{name}: {direction}, R@{k}",
                    value=value,
                    unit="found",
                    interval=interval,
                    n=len(clusters),
                    seeds=seeds,
                    chance=float(np.concatenate(chances).mean()),
                    ideal=1.0,
                )
            )
    return figures
