"""Codes whose image is nearer than that of the codes which the encoder wrote: a search, one number at a time.

    values = nearer(values, images, network.draw, (8, 8, 8, 8), rounds=2)     # of the shape of `values`

The encoder guesses in one pass; what comes back of its codes is known only once the decoder has drawn them. A round
tries of each place the step to a neighbouring level that promises most by the gradient of the image's error, and keeps
it where the error around the place falls; places that are tried together stand two apart.

That latents are optimised image by image is from Campos et al. 2019, https://arxiv.org/abs/1906.01223.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.models.vision.patches import Images

APART = 2
"""Places of a side from one to the next that is tried with it."""
AROUND = 3
"""Places of a side by whose pixels a step is judged."""

Values = Float[Tensor, "batch grid grid numbers"]
Errors = Float[Tensor, "batch grid grid"]


@torch.inference_mode(False)
@torch.enable_grad()
def nearer(
    values: Values, images: Images, draw: Callable[[Values], Images], levels: Sequence[int], rounds: int
) -> Values:
    """The values of each image's codes (as `FSQ` gives them) after `rounds` rounds, or unchanged for an image that came
    no nearer. `draw` makes images from values and is differentiable; `levels` is how many values each number has."""
    values, images = values.detach().clone(), images.detach().clone()
    before, found = values, values
    for _ in range(rounds):
        for top in range(APART):
            for left in range(APART):
                found = _stepped(found, images, draw, levels, (top, left))
    with torch.no_grad():
        better = _errors(found, images, draw).sum((1, 2)) < _errors(before, images, draw).sum((1, 2))
    return torch.where(better[:, None, None, None], found, before)


def _stepped(
    values: Values, images: Images, draw: Callable[[Values], Images], levels: Sequence[int], first: tuple[int, int]
) -> Values:
    """Values with a step at each place of those that begin at `first`, where it brings the image nearer there."""
    values.requires_grad_()
    before = _errors(values, images, draw)
    (gradient,) = torch.autograd.grad(before.sum(), values)
    with torch.no_grad():
        tried = _best_steps(values.detach(), gradient, levels)
        chosen = torch.zeros(values.shape[1:3], dtype=torch.bool, device=values.device)
        chosen[first[0] :: APART, first[1] :: APART] = True
        tried = torch.where(chosen[..., None], tried, values)
        better = chosen & (_around(_errors(tried, images, draw)) < _around(before))
        return torch.where(better[..., None], tried, values.detach())


def _best_steps(values: Values, gradient: Values, levels: Sequence[int]) -> Values:
    """Values after the one step of each place that promises most; the same where every way out leads nowhere."""
    half = values.new_tensor([one // 2 for one in levels])
    highest = (values.new_tensor(levels) - 1 - half) / half
    moved = values - gradient.sign() / half
    inside = (moved > -1 - 0.25 / half) & (moved < highest + 0.25 / half)
    promise = gradient.abs() / half * inside
    best = promise.argmax(-1, keepdim=True)
    one = torch.zeros_like(values, dtype=torch.bool).scatter_(-1, best, promise.gather(-1, best) > 0)
    return torch.where(one, moved, values)


def _errors(values: Values, images: Images, draw: Callable[[Values], Images]) -> Errors:
    """The squared error of each place's own pixels, averaged over them and over colours."""
    errors = (draw(values).clamp(-1, 1) - images).square().mean(1, keepdim=True)
    return F.avg_pool2d(errors, errors.shape[-1] // values.shape[1])[:, 0]


def _around(errors: Errors) -> Errors:
    """Of each place, what the places around it have, itself among them."""
    return F.avg_pool2d(errors[:, None], AROUND, stride=1, padding=AROUND // 2)[:, 0]
