"""lmworks: a workshop for language models that you own.

    import lmworks as lm
    model = lm.load("smollm2")
    print(model.generate("Once upon a time", lm.Sample(temperature=0.8, seed=1), max_new_tokens=40))

Names are loaded when they are used: `import lmworks` itself loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lmworks.basics.openmp import wait_briefly

if TYPE_CHECKING:
    from lmworks.adaptation.router import route
    from lmworks.basics.errors import LmworksError
    from lmworks.evaluation.probing import probe
    from lmworks.evaluation.tasks.run import evaluate
    from lmworks.generation.strategies import Beam, Greedy, Sample
    from lmworks.grounding.graph.graph import open_graph as graph
    from lmworks.grounding.index import build as index
    from lmworks.grounding.index import open_index
    from lmworks.jobs.build import build
    from lmworks.jobs.compress import compress
    from lmworks.jobs.contrast import contrast
    from lmworks.jobs.distill import distill
    from lmworks.jobs.export import export
    from lmworks.jobs.forget import forget
    from lmworks.jobs.merge import merge
    from lmworks.jobs.prefer import prefer
    from lmworks.jobs.privacy import privacy
    from lmworks.jobs.sweeping.run import sweep
    from lmworks.jobs.train import pretrain
    from lmworks.jobs.tune import tune
    from lmworks.language_model import LanguageModel
    from lmworks.loading import add_adapter, load
    from lmworks.reporting.run import report

__version__ = "0.1.0"

wait_briefly()  # here, as torch must not be loaded yet

_NAMES = {"graph": "open_graph", "index": "build"}
"""What a name is called in its home, where it is called otherwise."""
_HOMES = {
    "add_adapter": "lmworks.loading",
    "build": "lmworks.jobs.build",
    "compress": "lmworks.jobs.compress",
    "contrast": "lmworks.jobs.contrast",
    "evaluate": "lmworks.evaluation.tasks.run",
    "distill": "lmworks.jobs.distill",
    "export": "lmworks.jobs.export",
    "forget": "lmworks.jobs.forget",
    "graph": "lmworks.grounding.graph.graph",
    "index": "lmworks.grounding.index",
    "load": "lmworks.loading",
    "merge": "lmworks.jobs.merge",
    "open_index": "lmworks.grounding.index",
    "prefer": "lmworks.jobs.prefer",
    "probe": "lmworks.evaluation.probing",
    "pretrain": "lmworks.jobs.train",
    "report": "lmworks.reporting.run",
    "route": "lmworks.adaptation.router",
    "privacy": "lmworks.jobs.privacy",
    "sweep": "lmworks.jobs.sweeping.run",
    "tune": "lmworks.jobs.tune",
    "LanguageModel": "lmworks.language_model",
    "Beam": "lmworks.generation.strategies",
    "Greedy": "lmworks.generation.strategies",
    "Sample": "lmworks.generation.strategies",
    "LmworksError": "lmworks.basics.errors",
}
__all__ = [
    "Beam",
    "Greedy",
    "LanguageModel",
    "LmworksError",
    "Sample",
    "__version__",
    "add_adapter",
    "build",
    "compress",
    "contrast",
    "distill",
    "evaluate",
    "export",
    "forget",
    "graph",
    "index",
    "load",
    "merge",
    "open_index",
    "prefer",
    "pretrain",
    "privacy",
    "probe",
    "report",
    "route",
    "sweep",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), _NAMES.get(name, name))
    raise AttributeError(f"lmworks has no {name!r}; it has {', '.join(_HOMES)}")


def __dir__() -> list[str]:
    """What completion shows: the public names, whether they were used or not."""
    return [*__all__]
