"""What training minimises: callables `(network, batch) -> Loss` that add up."""

from lmworks.objectives.conditional_masked import ConditionalMaskedLM
from lmworks.objectives.contrast import InfoNCE, Sigmoid
from lmworks.objectives.kinds.causal import CausalLM
from lmworks.objectives.kinds.classification import Classification
from lmworks.objectives.kinds.masked import MaskedLM
from lmworks.objectives.kinds.pairs import NextSentence, SentenceOrder
from lmworks.objectives.kinds.prefix import PrefixLM
from lmworks.objectives.kinds.seq2seq import SequenceToSequence
from lmworks.objectives.kinds.spans import SpanCorruption
from lmworks.objectives.loss import Loss, Objective
from lmworks.objectives.penalties import L1, L2, Penalty
from lmworks.objectives.reconstruction import Reconstruction
from lmworks.objectives.routing import LoadBalance, RouterZLoss

__all__ = [
    "L1",
    "L2",
    "CausalLM",
    "Classification",
    "ConditionalMaskedLM",
    "InfoNCE",
    "LoadBalance",
    "Loss",
    "MaskedLM",
    "NextSentence",
    "Objective",
    "Penalty",
    "PrefixLM",
    "Reconstruction",
    "RouterZLoss",
    "SentenceOrder",
    "SequenceToSequence",
    "Sigmoid",
    "SpanCorruption",
]
