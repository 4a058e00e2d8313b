"""A ResNet or ViT with torchvision's names: its weights, as torchvision's networks load them, and beside them what such
a file does not say.

folder = write_torchvision(lm.load("models/vit"), Path("models/vit-torchvision"))
"""

from __future__ import annotations

from pathlib import Path

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import directory_written_whole, write_json
from lmworks.language_model import LanguageModel
from lmworks.models.families import torchvision
from lmworks.models.files.directory import torchvision_shapes, write_safetensors
from lmworks.models.files.model_folder import refuse_foreign_files, write_facts
from lmworks.vision_model import VisionModel

WEIGHTS = "model.safetensors"


def write_torchvision(model: LanguageModel, folder: Path) -> Path:
    """Write a folder that `load` reads and whose weights torchvision's own network takes strictly; the file of the
    weights. ModelError for a network that torchvision has not."""
    kind = getattr(model.network.config, "family", None)
    if not isinstance(model, VisionModel) or kind not in ("resnet", "vit"):
        raise ConfigError(f"{model.reference} is no ResNet or ViT, which alone are written with torchvision's names")
    config = model.network.config
    try:
        torchvision.must_be_theirs(config, torchvision_shapes(config))
    except ModelError as error:
        raise ModelError(f"{model.reference}: {error}") from None
    refuse_foreign_files(folder)
    with directory_written_whole(folder) as temporary:
        write_safetensors(temporary / WEIGHTS, torchvision.tensors_to(model.network.state_dict(), config))
        write_json(temporary / "config.json", torchvision.said_of(config))
        model.preprocessing.write(temporary)
        write_facts(temporary, {"source": model.reference})
    return folder / WEIGHTS
