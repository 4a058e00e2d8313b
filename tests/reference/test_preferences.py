"""DPO, IPO and SimPO against TRL's own trainers: loss and gradients of a batch, from the same files and pairs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from lmworks.adaptation.reference import references
from lmworks.language_model import LanguageModel
from lmworks.models.families import family_of
from lmworks.models.families.tables import each_name
from lmworks.objectives.preference import Preference, preference_losses
from lmworks.text import records
from lmworks.tokens.answer_pairs import pack_pairs, pair_of, with_references
from lmworks.tokens.batch import stack
from lmworks.training.settings import TrainingConfig

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install trl datasets")
transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")

TEMPLATE = tiny.CHATML.replace("<|im_end|>\n", "<|im_end|>")
"""TRL learns whatever a template writes after an answer's end, too: here that is nothing."""
NAMES = {"dpo": "sigmoid", "ipo": "ipo", "simpo": "simpo"}
GAMMA = 0.4
BETA = 0.3


def record(number: int) -> dict[str, Any]:
    prompt = [{"role": "user", "content": f"Say {number} {'well ' * number}"}]
    said = (f"{number}, please.", f"{number}! {'x' * (3 - number)}")
    answers = [[{"role": "assistant", "content": one}] for one in said]
    return {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that is trained, and another as its reference."""
    made = tmp_path_factory.mktemp("preferences")
    for seed in (0, 1):
        tiny.language_model(seed, context=256, tied=False).save(made / str(seed))
        (made / str(seed) / "chat_template.jinja").write_text(TEMPLATE)
    return made / "0", made / "1"


def theirs(
    loss: str, folders: tuple[Path, Path], where: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, dict[str, torch.Tensor]]:
    """TRL's loss of one batch of all pairs, and the gradient of each weight by its public name."""
    datasets = pytest.importorskip("datasets", reason="TRL needs it: pip install datasets")
    # The keys of its caches, for which it would pickle whatever a function touches.
    monkeypatch.setattr(datasets.fingerprint.Hasher, "hash", lambda *given: uuid.uuid4().hex)
    model, reference = (
        transformers.AutoModelForCausalLM.from_pretrained(str(one), dtype=torch.float32) for one in folders
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folders[0]))
    settings: dict[str, Any] = {
        "output_dir": str(where),
        "per_device_train_batch_size": 3,
        "beta": BETA,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
        "disable_dropout": True,
    }
    data = datasets.Dataset.from_list([record(number) for number in range(3)])
    if loss == "simpo":
        cpo = pytest.importorskip("trl.experimental.cpo", reason="this TRL has its SimPO elsewhere")
        settings |= {"loss_type": "simpo", "simpo_gamma": GAMMA, "cpo_alpha": 0.0, "max_length": 400}
        trainer = cpo.CPOTrainer(
            model=model, args=cpo.CPOConfig(**settings), train_dataset=data, processing_class=tokenizer
        )
    else:
        settings |= {"loss_type": [NAMES[loss]], "max_length": None}
        trainer = trl.DPOTrainer(
            model=model,
            ref_model=reference,
            args=trl.DPOConfig(**settings),
            train_dataset=data,
            processing_class=tokenizer,
        )
    batch = next(iter(trainer.get_train_dataloader()))
    found = trainer.compute_loss(trainer.model, batch)
    found.backward()
    return float(found.detach()), {name: one.grad for name, one in trainer.model.named_parameters()}


@pytest.mark.parametrize("loss", NAMES)
def test_loss_and_gradients_are_trls(loss: str, folders: tuple[Path, Path], tmp_path: Path, monkeypatch):
    model, reference = (LanguageModel.load(str(one), dtype="float32") for one in folders)
    documents = [records.document(record(number), str(number)) for number in range(3)]
    rows = pack_pairs([pair_of(one, model.tokenizer, 400) for one in documents], 400)
    values = references(reference.network, rows, TrainingConfig(context=400))
    network = model.network.requires_grad_(True).train()
    kind = preference_losses()[loss]
    chosen = {"beta": BETA} | ({"gamma": GAMMA} if loss == "simpo" else {})
    ours = Preference(kind, kind.settings(**chosen))(network, stack(with_references(rows, values))).mean
    ours.backward()
    total, gradients = theirs(loss, folders, tmp_path, monkeypatch)
    assert float(ours.detach()) == pytest.approx(total, rel=1e-5)
    weights = dict(network.named_parameters())
    compared = 0
    for name, source in each_name(family_of(network.config.family).tensors, network.config):
        if isinstance(source, str) and source in gradients and name in weights:
            compared += 1
            torch.testing.assert_close(weights[name].grad, gradients[source], rtol=1e-5, atol=1e-5)
    assert compared > 2 * network.config.layers
