"""What training minimises: callables `(network, batch) -> Loss` that add up."""

from lmworks.objectives.causal import CausalLM
from lmworks.objectives.loss import Loss, Objective
from lmworks.objectives.penalties import L1, L2, Penalty

__all__ = ["L1", "L2", "CausalLM", "Loss", "Objective", "Penalty"]
