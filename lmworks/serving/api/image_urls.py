"""Images that a client sends: data URLs alone, of few bytes and few pixels. Nothing is fetched for anybody."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Literal

from lmworks.serving.api.requests import StrictModel, Text
from lmworks.serving.errors import Refused
from lmworks.text.images.decoding import decode
from lmworks.text.plain import UnreadableError

if TYPE_CHECKING:
    import numpy as np

    from lmworks.basics.arrays import UInt8

MOST_PIXELS = 16_000_000
"""Of an image, told before it is decoded: 64 MB of a server's memory."""
MOST_IMAGES = 16
"""In one conversation."""
DATA = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)


class ImageUrl(StrictModel):
    """Where an image is."""

    url: Text
    """data:image/png;base64,... with the image itself."""

    detail: Literal["auto", "low", "high"] | None = None
    """Accepted, not used: the model reads one size."""


def pixels_at(url: str, param: str) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of a data URL. Refused for any other address, and for what is no image, or too large a one."""
    head = DATA.match(url[:100])
    if head is None:
        raise Refused(
            400,
            f"{param} is no data URL; send the image itself, as data:image/png;base64,..., as nothing is fetched here",
            param=param,
        )
    try:
        content = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        said = f"{param} holds no base64 after its comma; send the bytes of an image so"
        raise Refused(400, said, param=param) from None
    try:
        return decode(content, most_pixels=MOST_PIXELS)
    except UnreadableError as error:
        raise Refused(400, f"{param} is no image that is read: {error}", param=param) from None
