"""Our own recurrent networks: every choice of RecurrentConfig, and every tensor, under its own name.

lmworks reads such directories; transformers and other programs do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.families.tables import Family
from lmworks.models.relatives.recurrent_config import RecurrentConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAME, ARCHITECTURE = "lmworks-recurrent", "LmworksRecurrentForCausalLM"


class _Recurrent(Family):
    """config.json holds RecurrentConfig as it is; the network knows which tensors it needs."""

    def config_from(self, theirs: Mapping[str, Any]) -> RecurrentConfig:  # type: ignore[override]
        settings = {
            key: value for key, value in theirs.items() if key not in ("architectures", "model_type", "torch_dtype")
        }
        try:
            return RecurrentConfig(**settings)
        except ConfigError as error:
            raise ModelError(f"config.json: {error}") from None

    def config_to(self, config: RecurrentConfig) -> dict[str, Any]:  # type: ignore[override]
        return {"architectures": [self.architecture], "model_type": self.name} | config.model_dump(mode="json")

    def tensors_from(  # type: ignore[override]
        self,
        theirs: Mapping[str, Tensor],
        config: RecurrentConfig,
        dtype: torch.dtype | None = None,
        later: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, Tensor]:
        return {name: tensor.to(dtype) if dtype else tensor for name, tensor in theirs.items()}

    def tensors_to(  # type: ignore[override]
        self, ours: Mapping[str, Tensor], config: RecurrentConfig
    ) -> dict[str, Tensor]:
        return dict(ours)


RECURRENT = _Recurrent(name=NAME, architecture=ARCHITECTURE, settings={}, tensors={})
