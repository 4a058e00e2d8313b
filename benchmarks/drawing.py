"""What a model that draws is worth on concepts that it has never seen, beside what needs no such model.

    lmworks train emoji-clip --out models/judge --set data.images=emoji:openmoji --set data.unseen_style=none \\
        --set data.held_out=0.02 --set training.seed=1 --set training.steps=300
    python -m benchmarks.drawing models/emoji-fusion --judge models/judge --store

Captions: chrF of what it says of held-out images, beside the caption of the nearest training image, the one caption
that fits most, and what it says of another image. Drawings: how often a CLIP of another style and seed finds the
caption that one was drawn for, beside another drawing's caption and, as the ceiling, real images as their tokens bring
them back. Copies: how far the nearest training image is, beside the same of real held-out images. `--store` writes
benchmarks/drawing.json and the sheet of docs/drawing.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from benchmarks.machine import this_machine
from lmworks.cli.draw import arranged
from lmworks.drawing_model import GUIDANCE, USUAL, DrawingModel
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.retrieval import found
from lmworks.evaluation.statistics import clustered_mean, within
from lmworks.jobs.fusion_recipe import FusionRecipe
from lmworks.jobs.pictures import read_pictures, stacked
from lmworks.loading import load
from lmworks.models.files.directory import read_facts
from lmworks.text.document import Document
from lmworks.text.images.splits import ImageSplit, family_of

STORED = Path(__file__).with_suffix(".json")
SHEET = Path(__file__).parents[1] / "docs" / "drawings.png"
MOST = 300
"""Images, or captions, of each part."""
SHOWN, ZOOM = 64, 2
COMMON = 200
"""Captions of training that are tried as the one that fits most."""


def some(documents: Sequence[Document], most: int) -> list[Document]:
    """As many, spread over all of them."""
    return [documents[at] for at in np.linspace(0, len(documents) - 1, min(most, len(documents))).astype(int)]


def concepts(documents: Sequence[Document]) -> list[Document]:
    """One image of each caption, of each style in turn."""
    by_caption: dict[str, list[Document]] = {}
    for one in documents:
        by_caption.setdefault(one.text, []).append(one)
    return [images[at % len(images)] for at, images in enumerate(by_caption.values())]


def turned(values: Sequence[Any]) -> list[Any]:
    """Each in another's place, half of the list away."""
    half = len(values) // 2
    return [*values[half:], *values[:half]]


def measurement(name: str, values: Any, families: Sequence[str], unit: str, bounds: Any = None, **more: Any) -> Any:
    """A mean with its interval over families."""
    estimate = clustered_mean(np.asarray(values, float), families)
    if bounds is not None:
        estimate = within(estimate, bounds, len(set(families)))
    low, high = estimate.interval
    interval = (min(low, estimate.value), max(high, estimate.value))
    return Measurement(name=name, value=estimate.value, unit=unit, interval=interval, n=len(families), **more)


def nearest(images: UInt8[np.ndarray, "a h w 3"], others: UInt8[np.ndarray, "b h w 3"]) -> tuple[Any, Any]:
    """Of each image the nearest other, and the root of the mean squared error of its pixels, from 0 to 255."""
    flat, known = (torch.from_numpy(one.reshape(len(one), -1)).float() for one in (images, others))
    distances, places = torch.cdist(flat, known).min(dim=1)
    return places.numpy(), (distances / flat.shape[1] ** 0.5).numpy()


def captions(model: DrawingModel, parts: ImageSplit) -> list[Measurement]:
    """chrF of what is said of held-out images, and how much more that is than without looking."""
    from lmworks.basics.extras import require

    metric = require("sacrebleu.metrics", "text").CHRF()

    def chrf(said: Sequence[str], wanted: Sequence[str]) -> Float[np.ndarray, " texts"]:
        return np.array([metric.sentence_score(a, [b]).score for a, b in zip(said, wanted, strict=True)])

    shown = some(parts.held_out, MOST)
    families, wanted = [family_of(one) for one in shown], [one.text for one in shown]
    prompts = [model.with_images("", [one.image]) for one in shown]
    said = [answer.text.strip() for answer in model.generate_batch(prompts, max_new_tokens=40)]
    known = some([one for one in parts.train if one.text], 10**9)
    places, _ = nearest(stacked(shown), stacked(known))
    sample = [one.text for one in some(known, COMMON)]
    common = max(sample, key=lambda one: chrf([one] * len(sample), sample).mean())
    others = {
        "the caption of the nearest training image": [known[at].text for at in places],
        "the caption that fits most": [common] * len(shown),
        "what it says of another image": turned(said),
    }
    own = chrf(said, wanted)
    figures = [measurement("captions of held-out images", own, families, "chrF", ideal=100.0)]
    for name, texts in others.items():
        told = chrf(texts, wanted)
        figures.append(measurement(name, told, families, "chrF"))
        figures.append(measurement(f"captions, beyond {name}", own - told, families, "chrF", difference=True))
    return figures


def drawings(
    model: DrawingModel, judge: Any, parts: ImageSplit, guidance: float, temperature: float
) -> tuple[list[Measurement], list[Any]]:
    """How often the judge finds the caption of a drawing, the copies among them, and the drawings."""
    shown = some(concepts(parts.held_out), MOST)
    texts, families = [one.text for one in shown], [family_of(one) for one in shown]
    strategy = USUAL.but(temperature=temperature)
    drawn = model.drawings(texts, range(len(texts)), guidance=guidance, strategy=strategy)
    pixels = np.stack([np.asarray(one) for one in drawn])
    real = model.images.pixels(model.images.encode(list(stacked(shown))))
    words = judge.embed(texts, cut=True).numpy()
    right = np.eye(len(texts), dtype=bool)
    figures = []
    for k in (1, 5):
        hits = {
            name: found((judge.embed(images=list(images)).numpy() @ words.T)[order], right, k)
            for name, images, order in (
                ("drawings", pixels, np.arange(len(texts))),
                ("drawings of other captions", pixels, np.array(turned(range(len(texts))))),
                ("real images, back from their tokens", real, np.arange(len(texts))),
            )
        }
        chance = k / len(texts)
        figures += [
            measurement(f"{name}: their caption, R@{k}", values, families, "found", (0, 1), chance=chance)
            for name, values in hits.items()
        ]
        own, blind, ceiling = (values.mean() for values in hits.values())
        figures.append(
            measurement(
                f"drawings, beyond those of other captions, R@{k}",
                hits["drawings"] - hits["drawings of other captions"],
                families,
                "found",
                difference=True,
            )
        )
        if ceiling > blind:
            share = (own - blind) / (ceiling - blind)
            figures.append(
                Measurement(name=f"share of the way to the ceiling, R@{k}", value=float(share), n=len(texts))
            )
    known = model.images.pixels(model.images.encode(list(stacked(parts.train))))
    of_drawn, of_real = nearest(pixels, known)[1], nearest(real, known)[1]
    figures += [
        measurement("nearest training image of a drawing", of_drawn, families, "levels"),
        measurement("nearest training image of a real held-out image", of_real, families, "levels"),
        measurement("drawing minus real", of_drawn - of_real, families, "levels", difference=True),
    ]
    return figures, drawn


def main() -> None:
    """Measure, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--judge", required=True)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--temperature", type=float, default=USUAL.temperature)
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    model, judge = load(given.model), load(given.judge)
    assert isinstance(model, DrawingModel)
    assert model.source is not None
    facts = read_facts(model.source)
    recipe = FusionRecipe(**facts["recipe"])
    parts = read_pictures(recipe.data, model.images.preprocessing, 1, captions=True)
    figures, drawn = drawings(model, judge, parts, given.guidance, given.temperature)
    figures += captions(model, parts)
    for one in figures:
        print(f"{one.name:70} {one}")
    if given.store:
        stored = {
            "guidance": given.guidance,
            "temperature": given.temperature,
            "date": time.strftime("%Y-%m-%d"),
            "machine": this_machine().name,
            "cpu_seconds": round(time.process_time()),
            "training": {"steps": facts["training"]["steps"], "data": facts["data"], "recipe": facts["recipe"]},
            "trained": facts["measurements"],
            "image_tokens": read_facts(model.source / "image_tokens").get("measurements"),
            "measurements": [one.to_json() for one in figures],
            "sheet": [one.text for one in some(concepts(parts.held_out), MOST)][:SHOWN],
        }
        STORED.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        sheet = arranged(drawn[:SHOWN])
        sheet.resize((sheet.width * ZOOM, sheet.height * ZOOM), 0).save(SHEET, optimize=True)


if __name__ == "__main__":
    main()
