"""Whisper (Radford et al. 2022) and its distilled descendants: encoder-decoders that write down speech.

Blocks and names are mBART's; two convolutions read the sound, keys have no bias, and the head is the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.bart import DEFAULTS, FIXED, MBART, PRE_NORM, SETTINGS
from lmworks.models.families.sources import Source
from lmworks.models.families.tables import Family
from lmworks.models.hearing.config import SoundConfig

if TYPE_CHECKING:  # tables are read with every recipe, and what is wrong there should not wait for torch
    from torch import Tensor

QUERY_BIAS, KEY_BIAS = ".q_proj.bias", ".k_proj.bias"


class WhisperFamily(Family):
    """Our keys have a bias, which adds the same to all scores of a query and so changes nothing: its rows are zeros
    where a file is read, and are left out where one is written."""

    def config_to(self, config: ModelConfig) -> dict[str, Any]:
        """config.json for our config. ModelError for one of a network that reads no sound."""
        if not isinstance(config, SoundConfig):
            raise ModelError(
                "a whisper model reads sound, and this network does not; choose another family to save it as"
            )
        return super().config_to(config)

    def by_table_name(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors under the table's names."""
        named = super().by_table_name(theirs)
        zeros = {
            name.replace(QUERY_BIAS, KEY_BIAS): bias.new_zeros(bias.shape)
            for name, bias in named.items()
            if name.endswith(QUERY_BIAS)
        }
        return zeros | named

    def tensors_to(self, ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        """The tensors of a file from ours."""
        theirs = super().tensors_to(ours, config)
        return {name: tensor for name, tensor in theirs.items() if not name.endswith(KEY_BIAS)}


def _front() -> dict[str, Source]:
    return {
        f"encoder.{part}.{kind}": f"model.encoder.{part}.{kind}"
        for part in ("conv1", "conv2")
        for kind in ("weight", "bias")
    }


_like_mbart: Callable[[ModelConfig], dict[str, Any]] = MBART.more_to or (lambda config: {})


def _more_to(config: ModelConfig) -> dict[str, Any]:
    return _like_mbart(config) | {"pad_token_id": None}  # else 50256, which a smaller vocabulary does not have


WHISPER = WhisperFamily(
    name="whisper",
    architecture="WhisperForConditionalGeneration",
    examples=("openai/whisper-tiny.en", "openai/whisper-large-v3-turbo", "distil-whisper/distil-small.en"),
    config=SoundConfig,
    settings={name: theirs for name, theirs in SETTINGS.items() if name not in ("scale_embedding", "tied")}
    | {"context": "max_target_positions", "mels": "num_mel_bins", "sound_places": "max_source_positions"},
    tensors=PRE_NORM
    | _front()
    | {"embedding.weight": "model.decoder.embed_tokens.weight", "head.weight": "proj_out.weight"},
    fixed=FIXED | {"positions": "learned", "norm_place": "before", "head_bias": False, "tied": True},
    defaults={name: value for name, value in DEFAULTS.items() if name != "max_position_embeddings"}
    | {
        "vocab_size": 51865,
        "d_model": 384,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "encoder_attention_heads": 6,
        "decoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "decoder_ffn_dim": 1536,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "dropout": 0.0,
    },
    required={"scale_embedding": False, "tie_word_embeddings": True},
    more_from=MBART.more_from,
    more_to=_more_to,
    told=("encoder_layers",),
    prefix="model.",
)
