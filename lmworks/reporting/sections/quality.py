"""Bits per byte on held-out text, by the bits of the weights."""

from __future__ import annotations

from pathlib import Path

from lmworks.basics.errors import LmworksError
from lmworks.evaluation.likelihood import Likelihood, change, measure
from lmworks.evaluation.measurement import Measurement
from lmworks.kernels.footprint import Footprint
from lmworks.loading import network_path
from lmworks.reporting.section import CardEntry, Found, Section, bars
from lmworks.reporting.subject import GENERAL, Subject

WIDTHS = {"none": "own weights, PyTorch", "int8": "at most 8 bits, compiled", "int4": "at most 4 bits, compiled"}
"""What `--compress` takes, in words."""


def _measure(subject: Subject) -> Found:
    tokens = subject.scaled(4_096, 65_536)
    found: dict[str, Likelihood] = {}
    left_out = []
    for compress, words in WIDTHS.items():
        try:
            with subject.running(compress) as model:
                found[words] = measure(model, subject.general, f"{GENERAL}, {words}", tokens=tokens)
        except LmworksError as error:
            if compress == "none":
                raise
            left_out.append(f"{words}: {error}.")
    figures = {words: one.bits_per_byte(f"bits/byte of {GENERAL}, {words}") for words, one in found.items()}
    first, *others = found
    changes = [change(found[first], found[one], f"{one} minus {first}")[0] for one in others]
    return Found(
        measurements=(*figures.values(), *changes, *_sizes(subject, [*found])),
        charts=(bars(f"Bits per byte of {GENERAL} by the bits of the weights", "bits/byte", figures),),
        note=f"{found[first].tokens:,} tokens of {GENERAL}, in parts of 256; each part is paired with itself for the "
        "differences. A file whose weights have few bits already runs in these, so that its differences are small.",
        card=(
            CardEntry(
                measurement=figures[first].name,
                task="text-generation",
                dataset="Salesforce/wikitext",
                dataset_name="WikiText-2",
                config="wikitext-2-raw-v1",
                metric="bits_per_byte",
            ),
        ),
        left_out=tuple(left_out),
    )


def _sizes(subject: Subject, measured: list[str]) -> list[Measurement]:
    """What the weights take in memory, where they come from files."""
    if subject.model.source is None:
        return []
    footprint = Footprint.of(Path(network_path(str(subject.model.source))))
    return [
        Measurement(name=f"weights in memory, {words}", value=footprint.bytes(compress) / 1e6, unit="MB")
        for compress, words in WIDTHS.items()
        if words in measured
    ]


QUALITY = Section(
    name="quality",
    place=10,
    title="How well it predicts text, by the bits of its weights",
    says="Bits per byte compare models of any tokenizer; fewer are better. They say how well a text is predicted, and "
    "not whether questions are answered.",
    measure=_measure,
    seconds=(40.0, 600.0),
)
