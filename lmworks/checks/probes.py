"""What the checks read: short texts, a conversation, and copies of the model to compare with."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from lmworks.adaptation.lora import merge_adapters, remove_adapters
from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.checks.result import NotApplicableError
from lmworks.language_model import LanguageModel
from lmworks.models.adapted import has_adapters
from lmworks.models.memory import Memory
from lmworks.models.network import Network
from lmworks.tokens.tokenizer import Tokenizer

Ids = Int[Tensor, "batch seq"]
Mask = Bool[Tensor, "batch seq"]

QUESTION = "How do lists work?"
TEXT = "When the tide went out, three children and 12 crabs stayed on the beach near Zürich's lake; nobody asked why."
OTHER_TEXTS = ("A short one.", "def f(x):\n    return x + 1\n")

CONVERSATION = (
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "A tin of paint."},
    {"role": "user", "content": "Are you sure?"},
    {"role": "assistant", "content": "Yes, it says so."},
)

FUZZ = (
    "a",
    " a",
    "a ",
    "  a  b   c    ",
    "\n a\n\n  b",
    "\t",
    " \t \n  \r\n x",
    "line\r\nline\rline\n",
    "Hello, world! It's 2024-05-17; don't, we'll, THEY'RE, can’t",
    "0 12 345 6789 3.14159 1e-10 ½ ² ٣٤٥ 𝟘𝟙",
    "def f(x: int) -> int:\n    if x > 0:\n\t\treturn x ** 2  # square\n",
    "Straße İstanbul naïve ß ﬁ œ ǅ",
    "e\u0301 a\u0308\u0323 Z\u0351\u036b q\u0307\u0323",
    "한국어 \u1112\u1161\u11ab",
    "日本語、漢字かな交じり文。中文　全角",
    "Привет, как дела? — «кавычки»",
    "Γειά σου Κόσμε",
    "שלום עולם مرحبا بالعالم",
    "नमस्ते दुनिया क्षत्रिय",
    "ภาษาไทย",
    "Tiếng Việt",
    "ქართული አማርኛ བོད་སྐད မြန်မာ",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️‍🔥 1️⃣ 😀text😃",
    "𝕳𝖊𝖑𝖑𝖔 𐍈 𓀀",
    "a\u00a0b\u2003c\u200bd\u2028e\u3000f",
    "left \u202eright\u202c",
    "https://example.com/a_b?d=e&f=%20#g",
    "aaaaaaaa" * 8,
    "!" * 20 + "=" * 40,
    "((([[[{{{<<<>>>}}}]]])))",
    "$100 €50 £20 100% ±3 ≠≤∑√",
    '<b>&amp;</b> \\n "q" `c`',
)
"""Texts that tokenizers get wrong: scripts, emoji, combining marks, white space, digits, code."""

LONGEST = 48
"""Tokens that the network checks read at most: enough for chunks, windows and padding, and over in a second."""
SHORT_WINDOW = 7
"""A sliding window of the copy in float32: shorter than the texts, so that it hides something."""
CHEAP = 10**9
"""Parameters up to which a copy in float32 (4 GB) is made to check more sharply."""


def probe_ids(model: LanguageModel, text: str = TEXT) -> list[int]:
    """The text as tokens, with what stands before a document; NotApplicableError where they are too few."""
    start = model.tokenizer.document_start
    ids = [*([] if start is None else [start]), *model.tokenizer.encode(text, special=False)]
    ids = ids[: min(LONGEST, model.longest)]
    if len(ids) < 3:
        raise NotApplicableError("the tokenizer makes less than three tokens of a sentence")
    return ids


def as_row(ids: list[int], network: Network) -> Int[Tensor, "one seq"]:
    """Ids as a batch of one."""
    return torch.tensor([ids], device=network.device)


def read(model: LanguageModel, tokens: Ids, mask: Mask | None = None) -> Float[Tensor, "batch seq vocab"]:
    """Logits in the network's present mode; an encoder-decoder has each text as its own source."""
    return model.network(tokens, mask, memory=own_source(model.network, tokens, mask))


def own_source(network: Network, tokens: Ids, mask: Mask | None = None) -> Memory | None:
    """The texts as sources; None without an encoder. A row of padding counts as a text: it has no other source."""
    if network.encoder is None:
        return None
    return network.encode(tokens, None if mask is None else mask | ~mask.any(dim=1, keepdim=True))


def exact_copy(model: LanguageModel) -> LanguageModel | None:
    """The model in float32 with any sliding window cut to SHORT_WINDOW; None where that would not be cheap."""
    if sum(weight.numel() for weight in model.network.parameters()) > CHEAP:
        return None
    if model.network.dtype == torch.float32 and model.config.window is None:
        return None  # nothing would be sharper
    network = copy.deepcopy(model.network).float().eval()
    if network.config.window is not None:
        network.config = network.config.but(window=min(SHORT_WINDOW, network.config.window))
        for layer, block in enumerate(network.blocks):
            block.attention.window = network.config.window_of(layer)  # type: ignore[union-attr, assignment]
    return LanguageModel(network, model.tokenizer, model.source, model.reference)


def whole_copy(model: LanguageModel) -> LanguageModel:
    """A copy with its adapters merged, or taken off where no weight can do their work; the model itself where it has
    none."""
    if not has_adapters(model.network):
        return model
    network = copy.deepcopy(model.network)
    try:
        merge_adapters(network)
    except ConfigError:
        remove_adapters(network)
    return LanguageModel(network, model.tokenizer, model.source, model.reference)


def writable(tokenizer: Tokenizer) -> list[str]:
    """The fuzz texts that the tokenizer does not itself rewrite (lower case, composed accents) before it reads them."""
    normalizer = tokenizer.vocabulary.backend.normalizer
    if normalizer is None:
        return list(FUZZ)
    return [
        text
        for text in FUZZ
        if normalizer.normalize_str(text).replace("▁", " ").removeprefix(" ") == text.removeprefix(" ")
    ]
