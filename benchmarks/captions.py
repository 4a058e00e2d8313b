"""What a language model says of images that it has never seen, beside what needs no such model.

    lmworks train emoji-captions --out models/emoji-captions
    python -m benchmarks.captions models/emoji-captions --store

chrF of what it says of held-out images, beside words of its own, the caption of the nearest training image (by the
states of the model of images that it reads by, and by pixels), the one caption that fits most, and what it says of
another image. `--store` writes benchmarks/captions.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.drawing import compared, likeness, measurement, nearest, some
from benchmarks.machine import this_machine
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.strategies import Beam, Strategy
from lmworks.jobs.captions_recipe import CaptionsRecipe
from lmworks.jobs.pictures import read_pictures, stacked
from lmworks.loading import load
from lmworks.models.files.model_folder import read_facts
from lmworks.seeing_model import DESCRIBING, SeeingModel
from lmworks.text.document import Document
from lmworks.text.images.splits import ImageSplit, concept_of

STORED = Path(__file__).with_suffix(".json")
MOST = 300
"""Images that are described."""
SHOWN = 24
"""Answers that are stored, the first, good or bad."""
LONGEST = 48
"""Tokens of an answer."""
SMALL = 4
"""Pixels that count as one where images are compared by pixels: 128 become 32."""


def nearest_by_states(model: SeeingModel, shown: Sequence[Document], known: Sequence[Document]) -> list[int]:
    """Of each image the training image whose states point the same way, each number as far from the training set's mean
    as it is usual."""

    def states(documents: Sequence[Document]) -> Tensor:
        return normalize(model.reader.layers.normal(model.states_of([one.image for one in documents])), dim=1)

    found: list[int] = (states(shown) @ states(known).T).argmax(1).tolist()
    return found


def figures(
    model: SeeingModel, parts: ImageSplit, most: int, strategy: Strategy | None
) -> tuple[list[Measurement], list[str], list[str]]:
    """chrF of what it says of held-out images, beside what needs no such model; what it says, and what it says in words
    of its own."""
    shown, known = some(parts.held_out, most), [one for one in parts.train if one.text]
    prompts = [model.with_images("", [one.image]) for one in shown]
    said = [answer.text.strip() for answer in model.generate_batch(prompts, strategy, max_new_tokens=LONGEST)]
    by_pixels, _ = nearest(*(stacked(one)[:, ::SMALL, ::SMALL] for one in (shown, known)))
    near = {
        "the caption of the nearest training image": nearest_by_states(model, shown, known),
        "the caption of the nearest training image by pixels": by_pixels,
    }
    own = [
        answer.text.strip() for answer in model.generate_batch(prompts, strategy or DESCRIBING, max_new_tokens=LONGEST)
    ]
    found = compared(said, shown, known, near)
    families, wanted = [concept_of(one) for one in shown], [one.text for one in shown]
    in_own_words, chosen = likeness(own, wanted), likeness(said, wanted)
    beyond = measurement("captions, beyond words of its own", chosen - in_own_words, families, "chrF", difference=True)
    return [*found, measurement("words of its own", in_own_words, families, "chrF"), beyond], said, own


def main() -> None:
    """Measure, print, and store where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--most", type=int, default=MOST, help="images that are described")
    parser.add_argument("--beams", type=int, help="of which the best is taken; else as the model does by itself")
    parser.add_argument("--store", action="store_true")
    given = parser.parse_args()
    model = load(given.model)
    assert isinstance(model, SeeingModel) and model.source is not None
    facts = read_facts(model.source)
    recipe = CaptionsRecipe(**facts["recipe"])
    parts = read_pictures(recipe.data, model.eye.preprocessing, 1, captions=True)
    strategy = None if given.beams is None else Beam(width=given.beams).but(no_repeat_ngram=2)
    with torch.inference_mode():
        found, said, own = figures(model, parts, given.most, strategy)
    for one in found:
        print(f"{one.name:70} {one}")
    answers = [
        {"wanted": one.text, "said": text, "own": words}
        for one, text, words in zip(some(parts.held_out, given.most)[:SHOWN], said[:SHOWN], own[:SHOWN], strict=True)
    ]
    for answer in answers:
        print(f"  {answer['wanted'][:50]:50} | {answer['said'][:50]:50} | {answer['own'][:50]}")
    if given.store:
        stored = {
            "beams": given.beams,
            "date": time.strftime("%Y-%m-%d"),
            "machine": this_machine().name,
            "cpu_seconds": round(time.process_time()),
            "training": {"steps": facts["training"]["steps"], "data": facts["data"], "recipe": facts["recipe"]},
            "trained": facts["measurements"],
            "measurements": [one.to_json() for one in found],
            "said": answers,
        }
        STORED.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
