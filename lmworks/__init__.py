"""lmworks: a workshop for language models that you own.

    import lmworks as lm
    model = lm.load("smollm2")
    print(model.generate("Once upon a time", lm.Sample(temperature=0.8, seed=1), max_new_tokens=40))

Names are loaded when they are used: `import lmworks` itself loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmworks.building import build
    from lmworks.compressing import compress
    from lmworks.exporting import export
    from lmworks.generation.language_model import LanguageModel
    from lmworks.generation.strategies import Beam, Greedy, Sample
    from lmworks.loading import load
    from lmworks.pretraining import pretrain
    from lmworks.sweeping.run import sweep

__version__ = "0.1.0"

_HOMES = {
    "build": "lmworks.building",
    "compress": "lmworks.compressing",
    "export": "lmworks.exporting",
    "load": "lmworks.loading",
    "pretrain": "lmworks.pretraining",
    "sweep": "lmworks.sweeping.run",
    "LanguageModel": "lmworks.generation.language_model",
    "Beam": "lmworks.generation.strategies",
    "Greedy": "lmworks.generation.strategies",
    "Sample": "lmworks.generation.strategies",
    "LmworksError": "lmworks.basics.errors",
}
__all__ = [
    "Beam",
    "Greedy",
    "LanguageModel",
    "Sample",
    "__version__",
    "build",
    "compress",
    "export",
    "load",
    "pretrain",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"lmworks has no {name!r}; it has {', '.join(_HOMES)}")
