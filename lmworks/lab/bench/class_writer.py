"""One network that writes texts of a class: a language model that starts from a token for the class, and Bayes' rule.

    network = small_network(data.tokenizer, seed, "decoder", vocab_size=vocab_with_classes(data), labels=data.names)
    writer = ClassWriter.trained(network, learnt, data, config)
    writer.tell(texts), writer.log_probability(texts), writer.write([0, 0, 3], seed=1)

It does in one network, which all classes share, what `models/relatives/generative.py` does with n-grams of each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lmworks.basics.arrays import Float64
from lmworks.lab.bench.classes import Classed, Ids, LabelledTexts, Probabilities
from lmworks.lab.bench.encoders import CONTEXT
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.writers import end_of
from lmworks.models.network import Network, evaluating
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Example, Row, stack
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.settings import TrainingConfig

AT_ONCE = 64
"""Rows that go through the network together."""


def vocab_with_classes(data: Classed) -> int:
    """The size of the vocabulary with a token for each class added."""
    return data.tokenizer.vocab_size + len(data.names)


@dataclass(frozen=True)
class ClassWriter:
    """A network that was trained on texts, each after a token for its class."""

    network: Network
    data: Classed
    prior: tuple[float, ...]
    """The share of each class among the texts that were learnt."""

    @classmethod
    def trained(cls, network: Network, learnt: LabelledTexts, data: Classed, config: TrainingConfig) -> ClassWriter:
        """Train in place to predict each token of a text, and its end, given the token of its class."""
        rows = [_row(ids, number, data) for ids, number in zip(learnt.ids, learnt.classes, strict=True)]
        fit(network, CausalLM(), rows, config)
        counts = np.bincount(learnt.classes, minlength=len(data.names))
        return cls(network.eval(), data, tuple((counts / counts.sum()).tolist()))

    @torch.inference_mode()
    def joint(self, texts: Sequence[Ids]) -> Float64[np.ndarray, "texts classes"]:
        """log p(class, text) of each text, its end included, and class."""
        rows = [_row(ids, number, self.data) for ids in texts for number in range(len(self.prior))]
        found: list[float] = []
        with evaluating(self.network):
            for start in range(0, len(rows), AT_ONCE):
                batch = stack(rows[start : start + AT_ONCE])
                logits = self.network.logits(self.network.hidden(batch.tokens, documents=batch.documents))
                wanted = batch.labels.clamp(min=0)
                logprobs = logits.gather(2, wanted[..., None])[..., 0] - logits.logsumexp(2)
                found += logprobs.masked_fill(batch.labels < 0, 0.0).double().sum(1).tolist()
        return np.array(found).reshape(len(texts), -1) + np.log(self.prior)

    def tell(self, texts: Sequence[Ids]) -> Probabilities:
        """p(class | text), by Bayes' rule."""
        return torch.from_numpy(self.joint(texts)).softmax(1).numpy()

    def log_probability(self, texts: Sequence[Ids]) -> list[float]:
        """log p(text) per token, summed over all classes."""
        whole = np.logaddexp.reduce(self.joint(texts), axis=1)
        return [float(one) / (len(ids) + 1) for one, ids in zip(whole, texts, strict=True)]

    def write(self, classes: Sequence[int], seed: int) -> list[Ids]:
        """A new text of each of these classes, drawn from p(text | class)."""
        tokens = self.data.tokenizer
        return written(self.network, tokens, [[tokens.vocab_size + number] for number in classes], seed)


@torch.inference_mode()
def written(network: Network, tokenizer: Tokenizer, prompts: Sequence[Ids], seed: int) -> list[Ids]:
    """What a causal network writes after prompts of one length, each token drawn by its probability, up to the end
    token (left out) or the end of the context."""
    draw, end = torch.Generator().manual_seed(seed), end_of(tokenizer)
    read = torch.tensor(prompts)
    cache = network.new_cache(len(prompts), CONTEXT)
    columns = []
    with evaluating(network):
        for _ in range(CONTEXT - read.shape[1]):
            logits = network(read, cache=cache)[:, -1, : tokenizer.vocab_size]  # tokens of classes are not of the text
            read = torch.multinomial(logits.softmax(-1), 1, generator=draw)
            columns.append(read)
    return [ids[: ids.index(end)] if end in ids else ids for ids in torch.cat(columns, 1).tolist()]


def _row(ids: Ids, number: int, data: Classed) -> Row:
    tokens = [data.tokenizer.vocab_size + number, *ids, end_of(data.tokenizer)]
    return (Example(tokens, [False] + [True] * (len(ids) + 1), data.names[number]),)
