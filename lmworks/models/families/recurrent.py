"""Our own recurrent networks: every choice of RecurrentConfig, and every tensor, under its own name.

lmworks reads such directories; transformers and other programs do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.families.tables import Family
from lmworks.models.relatives.recurrent_config import RecurrentConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAME, ARCHITECTURE = "lmworks-recurrent", "LmworksRecurrentForCausalLM"


@dataclass(frozen=True, kw_only=True)
class OwnNetwork(Family):
    """config.json holds the network's own config as it is; the network knows which tensors it needs."""

    own: type[Config]
    """What config.json becomes."""

    def config_from(self, theirs: Mapping[str, Any]) -> Any:
        """The config of a config.json; ModelError for what is none."""
        settings = {
            key: value for key, value in theirs.items() if key not in ("architectures", "model_type", "torch_dtype")
        }
        try:
            return self.own(**settings)
        except ConfigError as error:
            raise ModelError(f"config.json: {error}") from None

    def config_to(self, config: Any) -> dict[str, Any]:
        """config.json for a config."""
        return {"architectures": [self.architecture], "model_type": self.name} | config.model_dump(mode="json")

    def tensors_from(  # type: ignore[override]
        self,
        theirs: Mapping[str, Tensor],
        config: Any,
        dtype: torch.dtype | None = None,
        later: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, Tensor]:
        """A file's tensors, which are ours."""
        return {name: tensor.to(dtype) if dtype else tensor for name, tensor in theirs.items()}

    def tensors_to(  # type: ignore[override]
        self, ours: Mapping[str, Tensor], config: Any
    ) -> dict[str, Tensor]:
        """The same the other way."""
        return dict(ours)


RECURRENT = OwnNetwork(name=NAME, architecture=ARCHITECTURE, settings={}, tensors={}, own=RecurrentConfig)
