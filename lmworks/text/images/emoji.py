"""Emoji in several styles, each with its name and tags: 1,914 concepts that are drawn the same and yet differ.

    for document in documents(size=32):
        document.image, document.text, document.metadata["style"], document.metadata["group"]

The drawings are SVG files of npm's packages, drawn once by resvg (extra `vision`) and kept in the cache. Apple's and
Facebook's are left out: nobody may pass them on.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.basics.extras import require
from lmworks.basics.files import cache_folder
from lmworks.text.document import Document
from lmworks.text.entry import Entry
from lmworks.text.images.decoding import decode
from lmworks.text.images.kept import Arrays, kept
from lmworks.text.images.siblings import siblings
from lmworks.text.registry import content_of

if TYPE_CHECKING:
    import numpy as np

    from lmworks.basics.arrays import UInt8

SIZE = 32
"""Pixels of a side, where nothing else is said."""
LARGEST = 512
GROUPS = (
    *("faces", "people", "parts", "animals and plants", "food and drink", "travel and places", "activities"),
    *("objects", "symbols", "flags"),
)
"""Unicode's groups by emojibase's numbers; parts are a tone of skin by itself and the like."""
COMPONENTS = GROUPS.index("parts")


def _package(name: str, version: str, sha256: str, size: int, licence: str, what: str) -> Entry:
    file = f"{name.strip('@').replace('/', '-')}-{version}.tgz"  # what `npm pack` calls it
    return Entry("emoji", name, version, file, sha256, size, licence, what, package=f"{name}@{version}")


STYLES = {
    "noto": _package(
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        3_102_958,
        "Apache-2.0 (Google)",
        "Noto's emoji: shaded, no flags",
    ),
    "fluent": _package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        1_172_438,
        "MIT (Microsoft)",
        "Fluent's flat emoji, no flags",
    ),
    "openmoji": _package(
        "@iconify-json/openmoji",
        "1.2.29",
        "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        1_264_633,
        "CC BY-SA 4.0 (HfG Schwäbisch Gmünd)",
        "OpenMoji: outlined",
    ),
    "twemoji": _package(
        "@iconify-json/twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        1_555_888,
        "CC BY 4.0 (Twitter)",
        "Twitter's emoji: flat, without outlines",
    ),
    "noto-v1": _package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        1_587_591,
        "Apache-2.0 (Google)",
        "Noto's first emoji: faces are blobs",
    ),
    "emojione": _package(
        "@iconify-json/emojione",
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        687_690,
        "CC BY 4.0 (Emoji One)",
        "Emoji One's second: flat, a little shaded",
    ),
    "emojione-v1": _package(
        "@iconify-json/emojione-v1",
        "1.2.3",
        "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3",
        3_704_153,
        "CC BY-SA 4.0 (Emoji One)",
        "Emoji One's first: shaded",
    ),
    "fluent-shaded": _package(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        14_323_330,
        "MIT (Microsoft)",
        "Fluent's emoji with light and shade",
    ),
}
"""Each with its package; the licence holds for whatever is drawn from it."""
USUAL = ("noto", "fluent", "openmoji", "twemoji")
"""Styles of `emoji`, which draw most concepts; `emoji:all` has the others too."""
WORDS = _package(
    "emojibase-data",
    "17.0.0",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    6_711_091,
    "MIT",
    "names and tags of emoji",
)


@dataclass(frozen=True)
class Concept:
    """What an emoji shows, whatever its style."""

    code: str
    """Its characters in hexadecimal, without the sign for "in colour": 1f468-200d-1f680."""
    label: str
    """Its name: "man astronaut"."""
    tags: tuple[str, ...]
    """Words that it is found by."""
    family: str
    """The code of the first of its siblings, its own where there is none."""
    group: str
    """What kind of thing it is, of GROUPS."""

    @property
    def caption(self) -> str:
        """Name and tags: "man astronaut: rocket, space"; words of the name are not repeated."""
        said = set(self.label.lower().split())
        more = [tag for tag in self.tags if not said.issuperset(tag.lower().split())]
        return f"{self.label}: {', '.join(more)}" if more else self.label


@cache
def concepts() -> dict[str, Concept]:
    """Every emoji by its code, without tones of skin. DataError where the names cannot be fetched."""
    found = [
        (_plain(one["hexcode"]), one)
        for one in _json(content_of("emoji-words", WORDS), "en/data.json")
        if one.get("group", COMPONENTS) != COMPONENTS
    ]
    families = siblings({code: one["label"] for code, one in found})
    return {
        code: Concept(code, one["label"], tuple(one.get("tags", ())), families[code], GROUPS[one["group"]])
        for code, one in found
    }


def documents(styles: Sequence[str] = USUAL, size: int = SIZE) -> Iterator[Document]:
    """Each emoji in each style, `size` pixels a side: its caption, and as metadata concept, family, group and style.

    DataError for a style that does not exist, where neither the packages nor a network are here.
    """
    known = concepts()
    for style in styles:
        codes, images = drawn(style, size)
        for code, image in zip(codes, images, strict=True):
            one = known[code]
            facts = {"style": (style,), "concept": (one.label,), "family": (one.family,), "group": (one.group,)}
            yield Document(one.caption, f"emoji:{style}#{one.label}", metadata=facts | {"tags": one.tags}, image=image)


def drawn(style: str, size: int = SIZE) -> tuple[list[str], UInt8[np.ndarray, "emoji size size 3"]]:
    """The codes and pictures of a style, on white; drawn where the cache does not have them, whole and unchanged."""
    if style not in STYLES:
        raise DataError(f"there is no style {style!r} of emoji; there are {', '.join(STYLES)}")
    if not 0 < size <= LARGEST:
        raise DataError(f"emoji of {size} pixels a side are not drawn; give at least 1 and at most {LARGEST}")
    path = cache_folder("data", "emoji") / f"{style}-{size}.npz"
    arrays = kept(path, f"{STYLES[style].sha256} {WORDS.sha256} {size}", lambda: _draw(style, size))
    return arrays["codes"].tolist(), arrays["images"]


def _draw(style: str, size: int) -> Arrays:
    import numpy as np

    resvg = require("resvg_py", "vision")
    packed = content_of(f"emoji-{style}", STYLES[style])
    icons, names = _json(packed, "icons.json"), _json(packed, "chars.json")
    names = {_plain(code): name for code, name in names.items()} or {
        code: _name_of(one.label) for code, one in concepts().items()
    }
    codes = [code for code in concepts() if _icon(icons, names.get(code, "")) is not None]
    images = np.empty((len(codes), size, size, 3), np.uint8)
    with progress.task(f"drawing {style}", len(codes), "emoji", stays=False) as advance:
        for at, code in enumerate(codes):
            svg = _svg(icons, _icon(icons, names[code]) or {})
            images[at] = decode(
                resvg.svg_to_bytes(
                    svg_string=svg, width=size, height=size, background="#ffffff", skip_system_fonts=True
                )
            )
            advance(1)
    return {"codes": np.array(codes), "images": images}


def _icon(icons: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """An icon of iconify's, by its name or that of an alias."""
    alias = icons.get("aliases", {}).get(name, {})
    found: dict[str, Any] | None = icons["icons"].get(alias.get("parent", name))
    return found


def _svg(icons: Mapping[str, Any], icon: Mapping[str, Any]) -> str:
    left, top, width, height = (
        icon.get(name, icons.get(name, usual))
        for name, usual in (("left", 0), ("top", 0), ("width", 16), ("height", 16))  # iconify's own
    )
    head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    side = max(width, height)  # the picture in the middle of a square
    box = f'viewBox="{left - (side - width) / 2} {top - (side - height) / 2} {side} {side}" width="1" height="1"'
    return f"<svg {head} {box}>{icon['body']}</svg>"


def _json(package: bytes, name: str) -> Any:
    """A file of an npm package, whose checksum is known."""
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        file = archive.extractfile(f"package/{name}")
        assert file is not None
        return json.load(file)


def _name_of(label: str) -> str:
    """How iconify calls an icon of that label, where a package has no list of characters."""
    return re.sub("[^a-z0-9]+", "-", re.sub("[’']", "", label.lower())).strip("-")


def _plain(code: str) -> str:
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")
