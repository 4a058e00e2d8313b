"""Image files of anybody's: upright, on white, in three colours, bounded; what cannot be used says why."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest

from lmworks.text.plain import UnreadableError

Image = pytest.importorskip("PIL.Image", reason="the extra vision is not installed")

from lmworks.text.images import decoding  # noqa: E402
from lmworks.text.images.decoding import decode  # noqa: E402

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def file_of(image, kind="PNG", **options):
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def halves(mode="RGB", left=RED, right=BLUE, size=(8, 4)):
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def corner(pixels):
    return tuple(int(one) for one in pixels[0, 0])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "JPEG"])
def test_every_kind_gives_the_pixels_that_were_saved(kind):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    pixels = decode(file_of(halves(), kind, **options))
    assert pixels.shape == (4, 8, 3) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, np.asarray(halves()), atol=2)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_is_turned_as_its_exif_says(orientation):
    from PIL import ImageOps

    scene = np.zeros((4, 8, 3), np.uint8)
    scene[0, 0], scene[0, -1], scene[-1, 0] = RED, BLUE, WHITE
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(Image.fromarray(scene), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(decode(content), expected)
    assert not np.array_equal(expected, scene)


def test_damaged_exif_does_not_cost_the_image():
    content = file_of(halves(), exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff")
    np.testing.assert_array_equal(decode(content), np.asarray(halves()))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white(mode):
    clear = Image.new("RGBA", (4, 4), (200, 10, 10, 0)).convert(mode) if mode != "PA" else None
    clear = clear or Image.new("RGBA", (4, 4), (200, 10, 10, 0))
    assert corner(decode(file_of(clear))) == WHITE


def test_a_palette_with_a_transparent_colour_is_white_there():
    palette = halves().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    pixels = decode(file_of(palette, transparency=palette.getpixel((0, 0))))
    assert corner(pixels) == WHITE and tuple(pixels[0, -1]) == BLUE
    assert corner(decode(file_of(palette))) == RED


def test_the_four_inks_of_print_become_three_colours():
    assert corner(decode(file_of(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG"))) == WHITE
    assert max(corner(decode(file_of(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG")))) <= 2


def test_greys_of_sixteen_bits_keep_their_shade():
    grey = Image.fromarray(np.full((4, 4), 32_896, np.uint16))
    assert corner(decode(file_of(grey))) == (128, 128, 128)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_picture_counts(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    first, second = Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)
    assert corner(decode(file_of(first, kind, save_all=True, append_images=[second], **options))) == RED


def png_that_says(width, height):
    """A file of 100 bytes that claims these sizes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 50_000])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(side):
    with pytest.raises(UnreadableError, match="million"):
        decode(png_that_says(side, side))


def test_too_large_a_file_is_refused(monkeypatch):
    monkeypatch.setattr(decoding, "MOST_BYTES", 50)
    with pytest.raises(UnreadableError, match="MiB large"):
        decode(file_of(halves()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_a_file_that_ends_too_early_is_damaged(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    content = file_of(noise, kind)
    with pytest.raises(UnreadableError, match=r"damaged|none of the kinds"):
        decode(content[: len(content) // 2])


@pytest.mark.parametrize("content", [b"hello", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image_says_which_kinds_are_read(content):
    with pytest.raises(UnreadableError, match="of none of the kinds that are read: PNG, JPEG"):
        decode(content)
    with pytest.raises(UnreadableError, match="an empty file"):
        decode(b"")


def test_bytes_that_are_changed_at_random_give_pixels_or_a_reason():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        content = np.frombuffer(file_of(halves(size=(16, 16)), kind), np.uint8)
        for _ in range(20):
            changed = content.copy()
            changed[rng.integers(0, len(changed), 4)] = rng.integers(0, 256, 4)
            try:
                assert decode(changed.tobytes()).shape[2] == 3
            except UnreadableError as error:
                assert str(error)


def test_a_large_photo_may_be_decoded_smaller():
    content = file_of(Image.new("RGB", (1600, 800), RED), "JPEG")
    assert decode(content, smallest=64).shape == (100, 200, 3)
    assert decode(content).shape == (800, 1600, 3)
