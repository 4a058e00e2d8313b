"""Our tables of ggml's kinds are those of the gguf package."""

from __future__ import annotations

import gguf

from lmworks.models.files.gguf_kinds import BLOCKS, Kind


def test_numbers_names_and_blocks_are_those_of_the_package():
    """It may know fewer: an older one, or more: a newer one."""
    both = {one.value for one in Kind} & {one.value for one in gguf.GGMLQuantizationType}
    assert len(both) >= 30
    for number in both:
        ours, theirs = Kind(number), gguf.GGMLQuantizationType(number)
        assert ours.name == theirs.name and BLOCKS[ours] == gguf.GGML_QUANT_SIZES[theirs]
    assert set(BLOCKS) == set(Kind)
