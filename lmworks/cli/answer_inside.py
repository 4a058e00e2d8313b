"""What `lmworks explain-answer` can show beside the shares of the tokens: how faithful they are, which layers and
tokens carry the difference from another prompt, what the model would say after each layer, and which heads copy.

A verb takes these options as one value, `further: Further`; `further.facts(...)` are the facts for --json, and `show`
prints them as tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.errors import ConfigError
from lmworks.cli.option_groups import Options
from lmworks.cli.options import table

if TYPE_CHECKING:
    from lmworks.generation.request import Prompt
    from lmworks.inside.attribution import Attribution
    from lmworks.inside.patching import Metric
    from lmworks.language_model import LanguageModel

LITTLE = 0.05
"""A token that carries less than this share of a difference in every layer is not shown."""
SHOWN = 8
"""At most this many tokens are shown, those that carry most."""


@dataclass(frozen=True, kw_only=True)
class Further(Options):
    """The options for what is shown beside the shares."""

    faithful: Annotated[
        bool,
        typer.Option("--faithful", help="Show as well how true the shares are, beside random rankings of the tokens."),
    ] = False
    corrupt: Annotated[
        str | None,
        typer.Option(
            help="Another prompt of as many tokens: show as well which layers and tokens carry what tells them apart."
        ),
    ] = None
    layers: Annotated[
        bool, typer.Option("--layers", help="Show as well what the model would say after each of its layers.")
    ] = False
    heads: Annotated[
        bool, typer.Option("--heads", help="Show as well which heads copy, and what is lost without them.")
    ] = False

    def facts(self, model: LanguageModel, found: Attribution, prompt: Prompt, *, chat: bool) -> dict[str, Any]:
        """The facts that the user asked for, by their names in JSON."""
        facts: dict[str, Any] = {}
        if self.faithful:
            facts["faithfulness"] = _judged(model, found)
        if self.corrupt is not None:
            facts["patching"] = _carried(model, prompt, asking(self.corrupt, chat=chat), found)
        if self.layers:
            facts["layers"] = _stages(model, prompt)
        if self.heads:
            facts["heads"] = _roles(model)
        return facts


def asking(text: str, *, chat: bool) -> Prompt:
    """The text as a prompt, or with `chat` as a user's message."""
    return [{"role": "user", "content": text}] if chat else text


def show(facts: dict[str, Any]) -> None:
    """Print the facts as tables."""
    if judged := facts.get("faithfulness"):
        _print_judged(judged)
    if carried := facts.get("patching"):
        _print_carried(carried)
    if stages := facts.get("layers"):
        table(["after layer", "would say", "share"], [[str(one["layer"]), *one["says"][0]] for one in stages])
    if roles := facts.get("heads"):
        table(
            ["heads", "layer.head", "look there", "chance", "lost without them", "beyond as many others"],
            [list(one.values()) for one in roles],
        )


def _judged(model: LanguageModel, found: Attribution) -> dict[str, Any]:
    """What the answer loses without the highest-ranked tokens, and with only those, beside random rankings."""
    from lmworks.evaluation.faithfulness import beside_random

    told = beside_random(model.network, found)
    figures = {"comprehensiveness": told.comprehensiveness, "sufficiency": told.sufficiency}
    return {"rankings": told.sufficiency.rankings} | {
        name: {"lost": one.value, "by_chance": one.by_chance, "better_than": one.beaten}
        for name, one in figures.items()
    }


def _print_judged(judged: dict[str, Any]) -> None:
    rows = []
    for said, name in (("without the highest-ranked tokens", "comprehensiveness"), ("with them alone", "sufficiency")):
        one = judged[name]
        figures = [f"{one['lost']:+.3f}", f"{one['by_chance']:+.3f}"]
        rows.append([said, *figures, f"{100 * one['better_than']:.0f} % of {judged['rankings']}"])
    table(["of the answer", "nats lost", "by a random ranking", "better than (chance 50 %)"], rows)


def _carried(model: LanguageModel, prompt: Prompt, corrupt: Prompt, found: Attribution) -> dict[str, Any]:
    """How much of the difference between two prompts each token's residual stream carries into each layer."""
    shares = model.patch(prompt, corrupt, _metric(found))

    def said(ids: Sequence[int]) -> list[str]:
        return [model.tokenizer.decode([one], skip_special=False) for one in ids]

    first = [said(ids[:1])[0] for ids in (found.answer_ids, found.instead_ids) if ids]
    pairs = zip(found.pieces, said(model.encode_prompt(corrupt)), strict=True)
    return {
        "of": " - ".join(f"log p({one!r})" for one in first),
        "place": "residual_in",
        "tokens": [{"token": one, "corrupt": other} for one, other in pairs],
        "shares": shares.tolist(),
    }


def _metric(found: Attribution) -> Metric:
    """Measure the answer's first token by its id, because encoding its text again may give another token. ConfigError
    where both answers begin with the same token."""
    from lmworks.inside.patching import difference, log_probability

    if found.instead_ids is None:
        return log_probability(found.answer_ids[0])
    first, other = found.answer_ids[0], found.instead_ids[0]
    if other == first:
        raise ConfigError(
            "both answers begin with the same token, and --corrupt compares their first tokens; give another --instead"
        )
    return difference(first, other)


def _print_carried(carried: dict[str, Any]) -> None:
    most = [max(map(abs, column)) for column in zip(*carried["shares"], strict=True)]
    strongest = sorted(range(len(most)), key=lambda at: -most[at])[:SHOWN]
    places = [at for at in sorted(strongest) if most[at] >= LITTLE]
    table(
        ["into layer", *(f"{at + 1} {_both(**carried['tokens'][at])}" for at in places)],
        [[str(layer), *(_share(row[at]) for at in places)] for layer, row in enumerate(carried["shares"])],
    )
    print(f"carried   of the difference in {carried['of']} between the prompts, by the stream at one token: 1 is all")
    if rest := [share for at, share in enumerate(most) if at not in places]:
        print(f"          the other tokens carry {_share(max(rest))} at most")


def _share(share: float) -> str:
    """With two decimals, and never "-0.00"."""
    return f"{share:z.2f}"


def _both(token: str, corrupt: str) -> str:
    """A token, and the one at its place in the other prompt if that differs."""
    one, other = (text.replace("\n", "\\n").strip() for text in (token, corrupt))
    return one if token == corrupt else f"{one}/{other}"


def _stages(model: LanguageModel, prompt: Prompt) -> list[dict[str, Any]]:
    """The likeliest next tokens after each layer, with their probabilities, as text."""
    import torch

    from lmworks.inside.lens import logit_lens

    said = logit_lens(model.network, torch.tensor([model.encode_prompt(prompt)]))[:, 0]
    chances, ids = (one.tolist() for one in said.exp().topk(3))
    words = [[repr(model.tokenizer.decode([one], skip_special=False)) for one in of] for of in ids]
    return [
        {"layer": layer, "says": [[word, f"{chance:.3f}"] for word, chance in zip(*of, strict=True)]}
        for layer, of in enumerate(zip(words, chances, strict=True))
    ]


def _roles(model: LanguageModel) -> list[dict[str, str]]:
    """For each kind of head: those that attend in its way most, and what is lost without them."""
    from lmworks.evaluation.head_worth import KINDS, worth_of

    return [
        {
            "kind": kind,
            "heads": ", ".join(f"{layer}.{head}" for layer, head in one.heads),
            "mark": f"{one.mark:.2f}",
            "chance": f"{one.chance:.2f}",
            "lost": str(one.lost),
            "beyond": str(one.beyond),
        }
        for kind in KINDS
        for one in [worth_of(model.network, kind)]
    ]
