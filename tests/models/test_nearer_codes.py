"""The search for codes whose image is nearer: never further, only codes that there are, and what is best is found."""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.models.vision.fsq import FSQ
from lmworks.models.vision.image_tokens import ImageTokenizer
from lmworks.models.vision.image_tokens_config import ImageTokensConfig
from lmworks.models.vision.nearer_codes import nearer

LEVELS = (4, 3, 5)
CONFIG = ImageTokensConfig(
    image_size=16, levels=LEVELS, width=16, fine_width=8, encoder_blocks=1, decoder_blocks=1, mixed=False
)


def network(search: int = 0) -> ImageTokenizer:
    made = ImageTokenizer(CONFIG.model_copy(update={"search": search})).initialise(seed=3).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for one in made.parameters():
            one.add_(torch.randn(one.shape, generator=generator), alpha=0.1)
    return made


def images(count: int = 6) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1


def errors(one: ImageTokenizer, codes: Tensor) -> Tensor:
    return (one.decode(codes).float() - images()).square().flatten(1).mean(1)


def test_images_come_back_nearer_and_no_image_further():
    plain, searching = network(), network(search=3)
    with torch.inference_mode():
        codes, searched = plain.encode(images()), searching.encode(images())
        before, after = errors(plain, codes), errors(plain, searched)
    assert (after <= before).all() and after.mean() < 0.97 * before.mean()
    assert not torch.equal(codes, searched)


def test_the_same_codes_come_out_whatever_stands_beside_an_image_and_in_whatever_mode():
    searching = network(search=2)
    together = searching.encode(images())
    with torch.no_grad():
        alone = torch.cat([searching.encode(one[None]) for one in images()])
    assert torch.equal(together, alone)
    assert all(one.grad is None for one in searching.parameters())


def grey(values: Tensor) -> Tensor:
    """Each place's own pixels, as bright as its number says."""
    return values.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_where_places_do_not_mix_the_search_ends_at_the_nearest_level():
    generator = torch.Generator().manual_seed(6)
    wanted = torch.rand(2, 4, 4, 1, generator=generator) * 2 - 1
    fsq = FSQ((8,))
    begin = fsq.values_of(torch.randint(0, 8, (2, 4, 4), generator=generator))
    found = nearer(begin, grey(wanted), grey, (8,), rounds=8)
    known = fsq.values_of(torch.arange(8))
    nearest = known[(wanted - known[:, 0]).abs().argmin(-1)]
    torch.testing.assert_close(found, nearest, rtol=0, atol=0)


def test_an_image_that_came_further_away_keeps_its_codes():
    """A step that is good where it is judged and worse far away."""
    values, wanted = torch.zeros(1, 4, 4, 1), torch.zeros(1, 4, 4, 1)
    wanted[0, 0, 0] = 0.5

    def far(values: Tensor) -> Tensor:
        seen = values.clone()
        seen[:, 3, 3] = seen[:, 3, 3] - 3 * values[:, 0, 0]
        return grey(seen)

    assert torch.equal(nearer(values, grey(wanted), far, (5,), rounds=1), values)
    assert nearer(values, grey(wanted), grey, (5,), rounds=1)[0, 0, 0] == 0.5


def test_weights_in_bfloat16_search_too():
    plain, searching = network().bfloat16(), network(search=2).bfloat16()
    before, after = (errors(plain, one.encode(images().bfloat16())) for one in (plain, searching))
    assert after.mean() < before.mean()
