"""What a model that draws is worth on concepts that it has never seen, beside what needs no such model.

    lmworks train emoji-clip --out models/judge --set data.images=emoji:openmoji --set data.unseen_style=none \\
        --set data.held_out=0.05 --set training.seed=1 --set training.steps=none --set training.max_seconds=150
    python -m benchmarks.drawing models/emoji-fusion --judge models/judge --store

Captions: chrF of what it says of held-out images, beside the caption of the nearest training image, the one caption
that fits most, and what it says of another image. Drawings: how often a CLIP of another style and seed finds the
caption that one was drawn for, beside another drawing's caption and, as the ceiling, real images as their tokens bring
them back. Copies: how far the nearest training image is, beside the same of real held-out images. `--store` writes
benchmarks/drawing.json and the sheet of docs/drawing.md; with `--best-of 32 --by models/emoji-clip`, which draws 32 for
each caption and lets that CLIP choose, drawing_best.json and a sheet of its own.
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

from benchmarks.machine import this_machine
from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.extras import require
from lmworks.cli.draw import arranged
from lmworks.drawing_model import GUIDANCE, USUAL, DrawingModel
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.retrieval import found
from lmworks.evaluation.statistics import clustered_mean, within
from lmworks.generation.strategies import Greedy
from lmworks.jobs.fusion_recipe import FusionRecipe
from lmworks.jobs.pictures import read_pictures, stacked
from lmworks.loading import load
from lmworks.models.files.model_folder import read_facts
from lmworks.text.document import Document
from lmworks.text.images.splits import ImageSplit, concept_of

STORED = Path(__file__).with_suffix(".json")
SHEET = Path(__file__).parents[1] / "docs" / "drawings.png"
BEST = "_best"
"""What the names of both end with where each drawing is the best of several."""
MOST = 300
"""Images, or captions, of each part."""
SHOWN, ZOOM, COLOURS = 64, 2, 64
ONE_WORD = Greedy(min_new_tokens=1)
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


def likeness(said: Sequence[str], wanted: Sequence[str]) -> Float[np.ndarray, " texts"]:
    """chrF of each text."""
    metric = require("sacrebleu.metrics", "text").CHRF()
    return np.array([metric.sentence_score(a, [b]).score for a, b in zip(said, wanted, strict=True)])


def compared(
    said: Sequence[str], shown: Sequence[Document], known: Sequence[Document], near: dict[str, Sequence[int]]
) -> list[Measurement]:
    """chrF of what is said of images, and how much more that is than without looking; `near` has the places of training
    images whose captions could be taken instead."""
    families, wanted = [concept_of(one) for one in shown], [one.text for one in shown]
    sample = [one.text for one in some(known, COMMON)]
    common = max(sample, key=lambda one: likeness([one] * len(sample), sample).mean())
    others = {
        **{name: [known[at].text for at in places] for name, places in near.items()},
        "the caption that fits most": [common] * len(shown),
        "what it says of another image": turned(said),
    }
    own = likeness(said, wanted)
    figures = [measurement("captions of held-out images", own, families, "chrF", ideal=100.0)]
    for name, texts in others.items():
        told = likeness(texts, wanted)
        figures.append(measurement(name, told, families, "chrF"))
        figures.append(measurement(f"captions, beyond {name}", own - told, families, "chrF", difference=True))
    return figures


def captions(model: DrawingModel, parts: ImageSplit, most: int) -> list[Measurement]:
    """chrF of what it says of held-out images, beside what needs no such model."""
    shown, known = some(parts.held_out, most), [one for one in parts.train if one.text]
    prompts = [model.with_images("", [one.image]) for one in shown]
    said = [answer.text.strip() for answer in model.generate_batch(prompts, ONE_WORD, max_new_tokens=40)]
    places, _ = nearest(stacked(shown), stacked(known))
    return compared(said, shown, known, {"the caption of the nearest training image": places})


def judged(model: DrawingModel, judge: Any, shown: Sequence[Document], drawn: Any) -> list[Measurement]:
    """How often the judge finds the caption that an image was drawn for."""
    texts, families = [one.text for one in shown], [concept_of(one) for one in shown]
    real = model.images.pixels(model.images.encode(list(stacked(shown))))
    words = judge.embed(texts, cut=True).numpy()
    similar = {name: judge.embed(images=list(images)).numpy() @ words.T for name, images in (("d", drawn), ("r", real))}
    right, figures = np.eye(len(texts), dtype=bool), []
    for k in (1, 5):
        own, ceiling = (found(similar[name], right, k) for name in ("d", "r"))
        blind = found(similar["d"][turned(range(len(texts)))], right, k)
        for name, values in (("drawings", own), ("drawings of others", blind), ("real, back from tokens", ceiling)):
            figures.append(measurement(f"{name}, R@{k}", values, families, "found", (0, 1), chance=k / len(texts)))
        more = measurement(f"drawings - drawings of others, R@{k}", own - blind, families, "found", difference=True)
        figures.append(more)
        if (way := float(ceiling.mean() - blind.mean())) > 0:
            name = f"share of the way to the ceiling, R@{k}"
            figures.append(Measurement(name=name, value=more.value / way, n=len(texts)))
    return figures


def copies(model: DrawingModel, parts: ImageSplit, shown: Sequence[Document], drawn: Any) -> list[Measurement]:
    """How far the nearest training image is from a drawing, and from a real image, all as tokens bring them back."""
    families = [concept_of(one) for one in shown]
    real, known = (model.images.pixels(model.images.encode(list(stacked(one)))) for one in (shown, parts.train))
    of_drawn, of_real = nearest(drawn, known)[1], nearest(real, known)[1]
    return [
        measurement("nearest training image of a drawing", of_drawn, families, "levels"),
        measurement("nearest training image of a real one", of_real, families, "levels"),
        measurement("the first - the second", of_drawn - of_real, families, "levels", difference=True),
    ]


def main() -> None:
    """Measure, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--judge", help="a CLIP; without one, drawings are compared with training images alone")
    parser.add_argument("--most", type=int, default=MOST, help="images, or captions, of each part")
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--temperature", type=float, default=USUAL.temperature)
    parser.add_argument("--best-of", type=int, default=1, help="drawings of each caption, of which --by chooses one")
    parser.add_argument("--by", help="the CLIP that chooses, of other styles than the judge's")
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    model = load(given.model)
    assert isinstance(model, DrawingModel)
    assert model.source is not None
    facts = read_facts(model.source)
    parts = read_pictures(FusionRecipe(**facts["recipe"]).data, model.images.preprocessing, 1, captions=True)
    shown = some(concepts(parts.held_out), given.most)
    strategy = USUAL.but(temperature=given.temperature)
    texts = [one.text for one in shown]
    by = None if given.by is None else load(given.by)
    chosen: dict[str, Any] = {"strategy": strategy, "best_of": given.best_of, "judge": by}
    drawn = model.drawings(texts, range(len(texts)), guidance=given.guidance, **chosen)
    pixels = np.stack([np.asarray(one) for one in drawn])
    figures = [] if given.judge is None else judged(model, load(given.judge), shown, pixels)
    figures += copies(model, parts, shown, pixels) + captions(model, parts, given.most)
    for one in figures:
        print(f"{one.name:70} {one}")
    if given.store:
        stored = {
            "guidance": given.guidance,
            "temperature": given.temperature,
            "best_of": given.best_of,
            "by": None if by is None or by.source is None else read_facts(by.source)["recipe"],
            "date": time.strftime("%Y-%m-%d"),
            "machine": this_machine().name,
            "cpu_seconds": round(time.process_time()),
            "training": {"steps": facts["training"]["steps"], "data": facts["data"], "recipe": facts["recipe"]},
            "trained": facts["measurements"],
            "image_tokens": read_facts(model.source / "image_tokens").get("measurements"),
            "measurements": [one.to_json() for one in figures],
            "sheet": texts[:SHOWN],
        }
        end = BEST if given.best_of > 1 else ""
        STORED.with_stem(STORED.stem + end).write_text(
            json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        sheet = arranged(drawn[:SHOWN])  # the first, good or bad
        few = sheet.quantize(COLOURS, dither=0)  # a third of the bytes
        few.resize((few.width * ZOOM, few.height * ZOOM), 0).save(SHEET.with_stem(SHEET.stem + end), optimize=True)


if __name__ == "__main__":
    main()
