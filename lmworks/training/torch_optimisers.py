"""torch.optim without torch._dynamo, which it imports at the first step: 2 s of a run's start, and nothing uses it.

torch.compile joins blocks here and never an optimiser's step, which is what the import keeps apart.
"""

from __future__ import annotations

import inspect

import torch
from torch.optim import Optimizer

__all__ = ["AdamW", "Optimizer"]

for _name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
    _method = inspect.unwrap(getattr(Optimizer, _name))
    _method.__dynamo_disable = _method  # where torch._disable_dynamo looks before it imports


class AdamW(torch.optim.AdamW):
    """torch's own."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
