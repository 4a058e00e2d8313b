"""What training minimises: callables `(network, batch) -> Loss` that add up."""

from lmworks.objectives.causal import CausalLM
from lmworks.objectives.classification import Classification
from lmworks.objectives.conditional_masked import ConditionalMaskedLM
from lmworks.objectives.loss import Loss, Objective
from lmworks.objectives.masked import MaskedLM
from lmworks.objectives.pairs import NextSentence, SentenceOrder
from lmworks.objectives.penalties import L1, L2, Penalty
from lmworks.objectives.prefix import PrefixLM
from lmworks.objectives.routing import LoadBalance, RouterZLoss
from lmworks.objectives.seq2seq import SequenceToSequence
from lmworks.objectives.spans import SpanCorruption

__all__ = [
    "L1",
    "L2",
    "CausalLM",
    "Classification",
    "ConditionalMaskedLM",
    "LoadBalance",
    "Loss",
    "MaskedLM",
    "NextSentence",
    "Objective",
    "Penalty",
    "PrefixLM",
    "RouterZLoss",
    "SentenceOrder",
    "SequenceToSequence",
    "SpanCorruption",
]
