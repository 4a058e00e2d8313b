"""What a report says of the model and of the machine besides its figures."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from lmworks.lab.provenance import machine
from lmworks.models.files.references import ALIASES
from lmworks.models.unread import peeked
from lmworks.reporting.subject import Subject


def facts_about(subject: Subject, cpu_seconds: float) -> dict[str, Any]:
    """Name, size, licence where it is known; scale, machine, version."""
    model = subject.model
    licence = ALIASES[subject.name].licence if subject.name in ALIASES else None
    return {
        "model": subject.name,
        "called": Path(subject.name).name or subject.name,
        "parameters": sum(one.numel() for one in peeked(model.network).values()),
        "family": model.config.family,
        "layers": model.config.layers,
        "context": model.config.context,
        "vocabulary": model.config.vocab_size,
        "runs": model.runner.name,
        "licence": licence,
        "scale": subject.scale,
        "trained_on": None if subject.named else subject.trained_on,
        "questions": list(subject.questions),
        "beside": None if subject.beside is None else subject.beside.name,
        "cpu_seconds": cpu_seconds,
        "machine": machine(),
        "lmworks": version("lmworks"),
    }
