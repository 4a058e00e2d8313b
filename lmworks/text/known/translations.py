"""Sentences and their translations."""

from __future__ import annotations

from dataclasses import replace

from lmworks.text.entry import Entry, lines

ENTRIES: dict[str, Entry] = {}
# Multi30k (Elliott et al. 2016): the part of its name, of its file, and what it has.
_PARTS = (
    ("", "train", "29,000 descriptions of photographs"),
    ("-validation", "val", "1,014 descriptions of photographs"),
    ("-test2016", "test_2016_flickr", "1,000 descriptions of photographs"),
)
_SIDES = (
    ("", "en", 1_801_238, "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
    ("", "de", 2_110_398, "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
    ("", "fr", 2_111_303, "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d"),
    ("-validation", "en", 63_297, "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
    ("-validation", "de", 75_981, "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
    ("-validation", "fr", 73_924, "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc"),
    ("-test2016", "en", 62_076, "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
    ("-test2016", "de", 70_649, "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
    ("-test2016", "fr", 72_261, "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6"),
)
ENTRIES |= {
    f"multi30k{part}-{language}": Entry(
        folder="multi30k",
        repository="multi30k/dataset",
        commit="a3d2e0d26b56f3846f66a952536ffed4e401d05a",
        path=f"data/task1/raw/{file}.{language}.gz",
        sha256=sha256,
        bytes=size,
        licence="none stated (Flickr30k captions: for research; translations by the authors of Multi30k)",
        what=f"{what}, the same in en, de and fr: {language}",
        documents=lines,
    )
    for part, file, what in _PARTS
    for of, language, size, sha256 in _SIDES
    if of == part
}
ENTRIES |= {
    f"multi30k{part}-{source}-{target}": replace(
        ENTRIES[f"multi30k{part}-{source}"],
        pair_of=(f"multi30k{part}-{source}", f"multi30k{part}-{target}"),
        what=f"{what} in {source}, each with its translation into {target}",
    )
    for part, _, what in _PARTS
    for source, target in (("en", "de"), ("de", "en"), ("en", "fr"), ("fr", "en"))
}
