"""/v1/images/generations: images of what a prompt says."""

from __future__ import annotations

import base64
import io
import secrets
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from lmworks.drawing_model import GUIDANCE, MOST_GUIDANCE, USUAL, DrawingModel, no_drawing
from lmworks.serving.api.requests import Number, StrictModel
from lmworks.serving.errors import Refused, late
from lmworks.serving.models import ServedModels
from lmworks.serving.pytorch_worker import twin

MOST = 16
"""Images of one request."""
AT_ONCE = 4
"""Images between two looks whether the client is still there."""


class ImageRequest(StrictModel):
    """A request to /v1/images/generations."""

    prompt: Annotated[str, Field(max_length=32_000)]
    """What the images show."""

    model: Annotated[str, Field(max_length=1000)] | None = None
    """One of /v1/models; the first unless it is given."""

    n: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """How many; the second has the next seed, and so on."""

    size: Annotated[str, Field(max_length=20)] | None = None
    """auto, or the size that the model draws, as in 32x32."""

    response_format: Literal["b64_json"] | None = None
    """The images themselves, as PNG in base64; no address is given out."""

    output_format: Literal["png"] | None = None

    seed: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """The same seed draws the same image."""

    guidance: Annotated[Number, Field(ge=0, le=MOST_GUIDANCE)] | None = None
    """How far the prompt is followed: 1 as the model does by itself; 3 unless given."""

    temperature: Annotated[Number, Field(ge=0, le=100)] | None = None
    """Below 1 the likelier codes alone."""

    quality: Annotated[str, Field(max_length=100)] | None = None
    """Accepted, not used; so are the fields below."""

    style: Annotated[str, Field(max_length=100)] | None = None
    background: Annotated[str, Field(max_length=100)] | None = None
    moderation: Annotated[str, Field(max_length=100)] | None = None
    user: Annotated[str, Field(max_length=4096)] | None = None


def routes(models: ServedModels) -> APIRouter:
    """The endpoint, for a server's models."""
    router = APIRouter()

    @router.post("/v1/images/generations", summary="Images of what a prompt says")
    async def draw(asked: ImageRequest, http: Request) -> JSONResponse:
        service = await models.lend(http, asked.model)
        model = service.model
        if not isinstance(model, DrawingModel):
            raise no_drawing(model)
        side = model.images.config_of_images.image_size
        if asked.size not in (None, "auto", f"{side}x{side}"):
            raise Refused(400, f"size is {str(asked.size)[:20]!r}, and the model draws {side}x{side}", param="size")
        strategy = USUAL if asked.temperature is None else USUAL.but(temperature=asked.temperature)
        guidance = GUIDANCE if asked.guidance is None else asked.guidance
        first = secrets.randbelow(2**31) if asked.seed is None else asked.seed
        seeds = list(range(first, first + (asked.n or 1)))
        end = time.monotonic() + service.limits.seconds

        def some(start: int) -> list[dict[str, Any]]:
            part = seeds[start : start + AT_ONCE]
            drawer = model.beside(twin(model).network)
            drawn = drawer.drawings([asked.prompt] * len(part), part, guidance=guidance, strategy=strategy)
            return [{"b64_json": _png(one), "seed": seed} for one, seed in zip(drawn, part, strict=True)]

        data: list[dict[str, Any]] = []
        for start in range(0, len(seeds), AT_ONCE):
            data += await service.worker.run(lambda start=start: some(start))  # type: ignore[misc]
            if await http.is_disconnected():
                raise Refused(499, "the client went away")
            if time.monotonic() > end and len(data) < len(seeds):
                raise late(service.limits.seconds, "ask for fewer images")
        return JSONResponse({"created": int(time.time()), "output_format": "png", "data": data})

    return router


def _png(picture: Any) -> str:
    held = io.BytesIO()
    picture.save(held, format="PNG")
    return base64.b64encode(held.getvalue()).decode()
