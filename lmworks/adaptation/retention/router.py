"""retain = "router": the adapter is for its own kind of text, and whatever is of another kind is the base's to read."""

from __future__ import annotations

import random
from dataclasses import replace

from lmworks.adaptation.declaration import Adapter, Original, Retention, Setup
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError


class RouterConfig(Config):
    """What the base goes on reading."""

    text: str | None = None
    """Text of the kind that the base itself is to read: a folder, a file or a name of the data registry; None for text
    that the model writes. It must not be the text that measures what was forgotten."""


def prepare(setup: Setup, base: Original, settings: RouterConfig) -> Setup:
    """Leave beside the adapter what tells its kind of text from the base's. ConfigError for a method whose adapters do
    not stand beside others, and as rehearsal."""
    must_go_with(base.adapter)
    if not setup.rows:  # a sketch, which reads nothing
        return setup
    from lmworks.adaptation.old_text import own_texts
    from lmworks.adaptation.router import BEGINNING, FILE, LEARNT_FROM, KindOfText, as_file, openings, states, without

    assert base.model is not None and base.adapter is not None
    model, network = base.model, setup.network
    begins = openings(model.tokenizer)
    pieces = [example for row in setup.rows for example in row]
    pieces.sort(key=lambda one: without(begins, one.tokens) != one.tokens)  # of a text, how it begins comes last
    texts = [*{one.source: one.tokens for one in pieces}.values()]
    learnt = random.Random(setup.seed).sample(texts, min(LEARNT_FROM, len(texts)))
    if settings.text is None:
        with base.adapter.off(network):
            old = own_texts(model, LEARNT_FROM, BEGINNING)
    else:
        rows = base.old_rows(settings.text, LEARNT_FROM, setup.seed)
        old = [list(example.tokens) for row in rows for example in row][:LEARNT_FROM]
    with base.adapter.off(network):
        kinds = [KindOfText.of(states(model, [without(begins, ids) for ids in one])) for one in (old, learnt)]
    return replace(setup, beside={**setup.beside, FILE: as_file(*kinds)})


def must_go_with(adapter: Adapter | None) -> None:
    """ConfigError for a method whose adapters do not stand beside others."""
    if adapter is None or adapter.kind == "qlora":
        what = "this method changes the base's own weights" if adapter is None else "QLoRA's base has others"
        raise ConfigError(
            "{at}text tells apart texts for adapters that stand beside one base, of which each text uses one, and "
            f"{what}; take lora, dora, bottleneck or prompt, or rehearsal or kl beside this method"
        )


ROUTER = Retention(
    "router",
    "the base stays as it is for all other text: the adapter is saved with what tells its own kind of text",
    RouterConfig,
    prepare,
    apart=True,
    must_go_with=must_go_with,
)
