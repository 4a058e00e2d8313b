"""Public families: what maps an architecture's config keys and tensor names onto the one network, both ways."""

from __future__ import annotations

from lmworks.basics.errors import ModelError
from lmworks.models.families.bart import BART, MARIAN, MBART
from lmworks.models.families.bert import BERT
from lmworks.models.families.gpt2 import GPT2
from lmworks.models.families.gpt_neox import GPT_NEOX
from lmworks.models.families.llama import GEMMA, LLAMA, MISTRAL, QWEN2, QWEN3
from lmworks.models.families.mixture import MIXTRAL, QWEN2_MOE, QWEN3_MOE
from lmworks.models.families.own import OWN
from lmworks.models.families.recurrent import RECURRENT
from lmworks.models.families.t5 import T5
from lmworks.models.families.tables import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *(LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA, MIXTRAL, QWEN2_MOE, QWEN3_MOE),
        *(GPT2, GPT_NEOX, BERT, T5, BART, MBART, MARIAN, OWN, RECURRENT),
    )
}


def family_of(model_type: object) -> Family:
    """The family of a `model_type`; ModelError listing the known ones."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(f"the architecture {model_type!r} is not known; known are {', '.join(FAMILIES)}")
    return FAMILIES[model_type]
