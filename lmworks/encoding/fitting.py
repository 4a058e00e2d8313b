"""Images of a reference that a network can read, each once, whatever the number of its captions.

for document in FittingImages("photos", model.preprocessing): document.image, document.text, document.source
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from lmworks.basics.errors import DataError
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.text.document import Document
from lmworks.text.images.reading import Images
from lmworks.text.sources import Skipped


class FittingImages(Images):
    """Images of a shape that a network reads, each once: a strip is skipped, and several captions are put together."""

    def __init__(self, reference: str | Path, preprocessing: Preprocessing, beside_texts: bool = False) -> None:
        super().__init__(reference, beside_texts=beside_texts)
        self._preprocessing = preprocessing

    def __iter__(self) -> Iterator[Document]:
        for _, same in groupby(super().__iter__(), lambda one: one.source):
            first, *others = same
            try:
                if first.image is not None:
                    self._preprocessing.resized(*first.image.shape[:2])
            except DataError as error:
                self.images -= 1
                self.without_caption -= not first.text
                self.skipped.append(Skipped(self.within(first.source), str(error)))
                continue
            yield replace(first, text="; ".join(one.text for one in (first, *others)))
