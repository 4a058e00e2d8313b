"""What training minimises: callables `(network, batch) -> Loss` that add up."""

from lmworks.objectives.causal import CausalLM
from lmworks.objectives.loss import Loss, Objective

__all__ = ["CausalLM", "Loss", "Objective"]
