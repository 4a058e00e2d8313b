"""Rules: an optimiser whose groups each step by a rule of their own, in float32 whatever the weights' type."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lmworks.training.declaration import Group, Rule, Stepped
from lmworks.training.settings import TrainingConfig
from lmworks.training.sharding import local
from lmworks.training.torch_optimisers import Optimizer


class Rules(Optimizer):
    """Groups with a `rule`, which reads the group's `lr` and `settings`; decoupled decay comes first.

    Weights in bfloat16 would lose most steps to rounding, so their float32 masters are part of the state. It is made at
    once: made at the first step it would lie scattered where that step's activations were, and the next ones would find
    no place between.
    """

    def __init__(self, groups: list[Group], settings: TrainingConfig) -> None:
        super().__init__(groups, {"lr": settings.learning_rate, "settings": settings})
        for group in self.param_groups:
            for parameter in group["params"]:
                self._begin(parameter, group["rule"])

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with the gradients that the parameters hold."""
        for group in self.param_groups:
            given = [self._begun(one, group["rule"]) for one in group["params"] if one.grad is not None]
            if not given:
                continue
            torch._foreach_add_([one.state["step"] for one in given], 1)
            torch._foreach_mul_([one.weight for one in given], 1 - group["lr"] * group["weight_decay"])
            group["rule"].step(group, given)
            rounded = [(local(one.parameter), one.weight) for one in given if one.parameter.dtype != one.weight.dtype]
            if rounded:
                torch._foreach_copy_([parameter for parameter, _ in rounded], [weight for _, weight in rounded])

    def _begin(self, parameter: nn.Parameter, rule: Rule) -> dict[str, Any]:
        """Its state, which a checkpoint may not have had."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state |= {name: torch.zeros_like(parameter, dtype=torch.float32) for name in rule.keeps}
            if parameter.dtype != torch.float32:
                state["master"] = parameter.detach().float()
        return state

    def _begun(self, parameter: nn.Parameter, rule: Rule) -> Stepped:
        """What a step is given, the rows that are here of each."""
        state = self._begin(parameter, rule)
        weight = local(state.get("master", parameter))
        assert parameter.grad is not None
        gradient = local(parameter.grad).float()
        return Stepped(parameter, weight, gradient, {name: local(value) for name, value in state.items()})
