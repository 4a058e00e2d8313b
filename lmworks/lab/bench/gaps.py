"""Networks that learnt to fill gaps or to predict the next token, and gaps to ask them for: for claims 7 and 9.

network = pretrained(text, BOTH_SIDES, share=0.2, config=pretraining(600, 32, 0.02, seed=1))
nats = at_gaps(network, gaps_of(text, 200), next_token=False)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lmworks.lab.bench.encoders import CONTEXT, Prose, small_network
from lmworks.lab.bench.training import fit
from lmworks.lab.contrast import Condition
from lmworks.lab.metric import Metric
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, MaskedLM, Objective
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.sentence_pairs import Passages, Sentences
from lmworks.training.settings import TrainingConfig

FRESH, BOTH_SIDES, LEFT_SIDE, NEXT_TOKEN = Condition.named(
    "no pretraining", "masked, both sides", "masked, left side", "next token"
)
"""What a network learnt before it is asked."""
FREQUENCIES = Condition("token frequencies")
NATS = Metric("a hidden token", "nats", margin=0.02)
TUNING_RATES = (1e-3, 3e-3)
"""Learning rates to choose from where the whole network is then tuned on labels."""


@dataclass(frozen=True)
class Gap:
    """A passage with one token hidden."""

    tokens: list[int]
    """With the mask in its place."""
    at: int
    token: int


def gaps_of(text: Prose, count: int) -> list[Gap]:
    """One token of each of the first held-out passages, drawn by the passage's number."""
    rows, tokenizer = Passages(text.held_out, text.tokenizer, CONTEXT), text.tokenizer
    found: list[Gap] = []
    for place in range(len(rows)):
        batch = rows.batch([place])
        ids = batch.tokens[0][batch.documents[0] >= 0].tolist()
        inner = [at for at in range(3, len(ids) - 3) if ids[at] not in tokenizer.special]
        if inner and len(found) < count:
            at = inner[(7919 * place) % len(inner)]
            found.append(Gap([*ids[:at], tokenizer.require_mask(), *ids[at + 1 :]], at, ids[at]))
    return found


@torch.inference_mode()
def at_gaps(network: Network, gaps: Sequence[Gap], next_token: bool) -> list[float]:
    """-log p of each hidden token. A network that predicts the next token is asked at the token before the gap."""
    nats = []
    for gap in gaps:
        states = network.hidden(torch.tensor([gap.tokens]))[:, gap.at - next_token]
        nats.append(-float(network.logits(states)[0].log_softmax(-1)[gap.token]))
    return nats


def by_frequency(text: Prose, gaps: Sequence[Gap]) -> list[float]:
    """-log p of each hidden token by how often it stands in the training text, one added to every count."""
    learnt = torch.tensor([one for ids in ids_of(text.train) for one in ids])
    counts = torch.bincount(learnt, minlength=text.tokenizer.vocab_size).double() + 1
    return (counts.sum() / counts).log()[[gap.token for gap in gaps]].tolist()


def ids_of(texts: Sentences) -> list[list[int]]:
    """The texts that hold a token, cut as a network reads them."""
    joined = ([int(one) for sentence in texts.document(at) for one in sentence] for at in range(len(texts)))
    return [ids[: CONTEXT - 2] for ids in joined if ids]


class FromTheLeft(CausalLM):
    """Masked tokens predicted by a causal network: the labels are the tokens that were masked."""

    def __init__(self, masked: MaskedLM) -> None:
        super().__init__()
        self.masked = masked

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """As the masked objective does."""
        return self.masked.prepare(batch, seeds)


class EachNext(CausalLM):
    """The next token of passages that come without labels."""

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """Each token's label is the one after it."""
        labels = torch.full_like(batch.tokens, IGNORE)
        goes_on = batch.documents[:, 1:] >= 0
        labels[:, :-1] = torch.where(goes_on, batch.tokens[:, 1:], IGNORE)
        return replace(batch, labels=labels)


def pretrained(text: Prose, name: Condition, share: float, config: TrainingConfig) -> Network:
    """A network that was trained in one of the ways, or in none."""
    network = small_network(text.tokenizer, config.seed, "encoder" if name in (FRESH, BOTH_SIDES) else "decoder")
    if name == FRESH:
        return network.eval()
    masked = MaskedLM.of(text.tokenizer, share=share)
    objectives: dict[Condition, Objective] = {
        BOTH_SIDES: masked,
        LEFT_SIDE: FromTheLeft(masked),
        NEXT_TOKEN: EachNext(),
    }
    fit(network, objectives[name], Passages(text.train, text.tokenizer, CONTEXT), config)
    return network
