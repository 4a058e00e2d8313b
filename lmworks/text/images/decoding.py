"""An image file of anybody's as pixels: bounded before it is decoded, upright, on white, in red, green and blue.

    pixels = decode(Path("cat.jpg").read_bytes())

What cannot be used raises UnreadableError with the reason. Of an animation the first picture counts, and of a TIFF its
first page, unless all are asked for (`decode_pages`).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from lmworks.basics.extras import require
from lmworks.text.plain import MEBIBYTE, UnreadableError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from lmworks.basics.arrays import UInt8

KINDS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""What Pillow may open, and the suffixes of such files. Nothing that starts another program, as EPS does."""
SUFFIXES = frozenset(suffix for suffixes in KINDS.values() for suffix in suffixes)
OTHERS = frozenset({".svg", ".heic", ".heif", ".avif", ".jxl", ".eps", ".psd", ".ico", ".raw"})
"""Suffixes of images that are not read: named, where a text file in the folder would be passed over."""
SUBFILE, SMALLER = 254, 1
"""The tag of a TIFF that says what a page is, and the bit in it of one that is another in a smaller size."""
MOST_BYTES = 64 * MEBIBYTE
"""Of a file."""
MOST_PIXELS = 64_000_000
"""Of an image, whatever the size of its file: 256 MB once it is decoded. A PNG of 200 KB may say 50,000 x 50,000."""


def decode(
    content: bytes, smallest: int | None = None, most_pixels: int = MOST_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of an image file.

    `smallest` lets a large JPEG be decoded at an eighth, a quarter or half of its size, both sides at least that long.
    UnreadableError for what is no image, is larger than MOST_BYTES or `most_pixels`, or ends too early.
    """
    with contextlib.closing(_pictures(content, smallest, most_pixels)) as pictures:
        return next(pictures)


def decode_pages(content: bytes) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The pixels of each page of a TIFF, as scanners write them, one at a time; the one picture of any other file.
    UnreadableError as of `decode`, of any page."""
    return _pictures(content, None, MOST_PIXELS)


def _pictures(
    content: bytes, smallest: int | None, most_pixels: int
) -> Generator[UInt8[np.ndarray, "height width 3"], None, None]:

    if len(content) > MOST_BYTES:
        raise UnreadableError(f"{len(content) / MEBIBYTE:,.0f} MiB large; at most {MOST_BYTES // MEBIBYTE} are read")
    pillow = require("PIL.Image", "vision")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are refused below, and of odd EXIF
            image = pillow.open(io.BytesIO(content), formats=tuple(KINDS))
        with image:
            yield _loaded(image, smallest, most_pixels)
            for page in range(1, image.n_frames if image.format == "TIFF" else 1):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    image.seek(page)
                if not image.tag_v2.get(SUBFILE, 0) & SMALLER:
                    yield _loaded(image, smallest, most_pixels)
    except UnreadableError:
        raise
    except pillow.DecompressionBombError:
        raise UnreadableError(f"more than {most_pixels / 1e6:,.0f} million pixels; make it smaller") from None
    except pillow.UnidentifiedImageError:
        kinds = f"of none of the kinds that are read: {', '.join(KINDS)}"
        raise UnreadableError(kinds if content else "an empty file") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        reason = str(error).partition("\n")[0][:80] or type(error).__name__
        raise UnreadableError(f"damaged ({reason})") from None


def _loaded(image: Image, smallest: int | None, most_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
    import numpy as np

    _check_size(image, most_pixels)
    if smallest is not None:
        image.draft(None, (smallest, smallest))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        image.load()
        return np.asarray(in_colour(upright(image)))


def _check_size(image: Image, most: int) -> None:
    pixels = image.width * image.height
    if pixels > most:
        raise UnreadableError(f"{image.width:,} x {image.height:,} pixels; at most {most / 1e6:,.0f} million are read")


def upright(image: Image) -> Image:
    """Turned as its EXIF says; damaged EXIF says nothing."""
    from PIL import ImageOps

    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def in_colour(image: Image) -> Image:
    """In red, green and blue, what is transparent on white."""
    if image.mode == "F":
        raise UnreadableError("its pixels are floating-point numbers; save it with 8 bits a colour")
    if image.mode.startswith("I"):
        image = _in_bytes(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        white = require("PIL.Image", "vision").new("RGBA", over.size, "white")
        white.alpha_composite(over)
        image = white
    return image.convert("RGB")


def _in_bytes(image: Image) -> Image:
    """Greys of 16 bits in 8: Pillow itself cuts them off at 255, which makes all of it white."""
    import numpy as np

    greys = np.asarray(image).astype(np.int64).clip(0, 65_535)
    return require("PIL.Image", "vision").fromarray((greys / 257).round().astype(np.uint8))
