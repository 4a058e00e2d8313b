"""Two processes make the run of one where some of the network is not in the loss, or is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.runs import CONFIG, rows
from training.together import Ranks, together

from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss, MaskedLM, Objective, RouterZLoss
from lmworks.tokens.batch import Batch
from lmworks.training.loop import train
from lmworks.training.ranks import ALONE

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "dim": 16,
    "layers": 1,
    "heads": 2,
    "hidden_dim": 24,
    "context": 64,
    "family": "lmworks",
}
ENCODER: dict[str, Any] = {"arrangement": "encoder", "positions": "learned", "pooler": True, "labels": ("yes", "no")}


def masked() -> Objective:
    return MaskedLM(mask=1, ordinary=np.arange(96) > 3)


def routed() -> Objective:
    return CausalLM() + RouterZLoss(1e-2)


class NowAndThen(CausalLM):
    """Every second batch or so says nothing of the head, so that a rank may have none that does."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        if int(batch.tokens.sum()) % 2:
            return super().__call__(network, batch)
        return Loss(network.hidden(batch.tokens, documents=batch.documents).square().sum(), batch.supervised)


CASES = {
    "masked, whose pooler and classifier learn nothing": (ENCODER, masked),
    "experts that no row of a rank is sent to": ({"experts": {"count": 16, "top_k": 1}}, routed),
    "a head that some losses do not reach": ({"tied": False}, NowAndThen),
}


def made(ranks: Ranks, case: str, folder: Path, changes: dict[str, Any]) -> tuple[list[float], dict[str, torch.Tensor]]:
    shape, objective = CASES[case]
    network = Network(ModelConfig(**SMALL | shape)).initialise(ranks.rank)
    result = train(network, objective(), rows(), CONFIG.but(**changes), folder, ranks=ranks)
    return result.losses, {name: parameter.detach() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize(
    ("case", "way"), [*((case, "ddp") for case in CASES), *((case, "fsdp") for case in list(CASES)[:2])]
)
def test_two_ranks_make_the_run_of_one(case: str, way: str, tmp_path: Path):
    """FSDP has no answer to a rank whose losses leave out what another's reach; no objective of lmworks is one."""
    changes = {"distribution": way, "accumulate": 4}  # two micro-batches of a step are a rank's, whole
    losses, parameters = made(ALONE, case, tmp_path / "one", changes)
    for result in together(made, case, tmp_path / "two", changes):
        assert not isinstance(result, Exception), result
        assert result[0] == pytest.approx(losses, rel=1e-5)
        torch.testing.assert_close(result[1], parameters, rtol=1e-5, atol=1e-5)
