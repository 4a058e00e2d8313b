"""lmworks explain-answer: which words of a prompt carry a model's answer, and from which layer on it would give it; how
true that is to the model, and where another prompt's answer parts from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.cli.answer_inside import Further, asking, show
from lmworks.cli.options import Base, Json, Model, as_json, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.inside.attribution import Attribution

BAR = 24
"""Characters of the longest bar."""


@verb("Measure it", place=6)
def explain_answer(
    model: Model,
    prompt: Annotated[str, typer.Argument(help="The text, or with --chat the message, that was answered.")],
    answer: Annotated[
        str | None, typer.Option(help="The answer to explain; the first words of the model's own unless given.")
    ] = None,
    instead: Annotated[
        str | None, typer.Option(help="Another answer: explain why the first one, and not this one.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Treat the prompt as a message.")] = False,
    method: Annotated[
        str, typer.Option(help="How shares are found: occlusion, gradient-x-input or integrated-gradients.")
    ] = "occlusion",
    further: Further = Further(),
    base: Base = None,
    json_: Json = False,
) -> None:
    """Say which tokens of a prompt carry a model's answer, in nats of its log-probability. With --instead, which make
    it likelier than another answer."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.inside.attributions import must_be_attribution

    if not prompt:
        raise ConfigError("the prompt is empty: there is nothing to explain")
    for name, said in {"--answer": answer, "--instead": instead, "--corrupt": further.corrupt}.items():
        if said == "":
            raise ConfigError(f"{name} is empty; give a text, or leave it out")
    must_be_attribution(method)
    progress.at_once(f"loading {model}")
    from lmworks.loading import load

    with progress.shown():
        loaded = load(model, base=base, dtype="float32")
        asked = asking(prompt, chat=chat)
        found = loaded.attribute(asked, answer, instead=instead, method=method)
        more = further.facts(loaded, found, asked, chat=chat)
    progress.end_line()
    if json_:
        as_json(_facts(found, instead) | more)
        return
    longest = float(found.scores.abs().max()) or 1.0
    rows = [
        [piece.replace("\n", "\\n"), f"{score:+.3f}", ("+" if score > 0 else "-") * round(BAR * abs(score) / longest)]
        for piece, score in zip(found.pieces, found.scores.tolist(), strict=True)
    ]
    table(["token", "nats", ""], rows)
    against = "" if instead is None else f" over {instead!r}"
    without = f"{found.baseline:.3f} without the prompt's words"
    print(f"answer    {found.answer!r}{against}: {found.value:.3f} nats; {without}")
    if answer is not None and not chat and _letter(prompt[-1:]) and _letter(answer[:1]):
        print(
            f"note      {answer!r} goes on with the prompt's last word, {prompt.split()[-1]!r}; a word of its own "
            f"begins with a space: {' ' + answer!r}"
        )
    if instead is not None and (why := _unlike(found, instead)):
        print(f"note      {why}: their probabilities do not compare token by token")
    if found.adds_up:
        print(f"left      {found.left:+.3f} nats that the shares do not add up to")
    show(more)


def _letter(text: str) -> bool:
    """Whether it is one of a script whose words stand between spaces."""
    return text.isascii() and text.isalpha()


def _unlike(found: Attribution, instead: str) -> str:
    """What two answers differ in besides their words; "" where it is nothing."""
    answer = found.answer
    spaced = [one[:1].isspace() for one in (answer, instead)]
    counts = [len(one) for one in (found.answer_ids, found.instead_ids or ())]  # as they are compared
    said = []
    if len(set(spaced)) > 1:
        said.append(f"only {(answer if spaced[0] else instead)!r} begins with a space")
    if len(set(counts)) > 1:
        said.append(f"the answers have {counts[0]} and {counts[1]} tokens")
    return ", and ".join(said)


def _facts(found: Attribution, instead: str | None) -> dict[str, Any]:
    tokens = [{"token": piece, "nats": score} for piece, score in zip(found.pieces, found.scores.tolist(), strict=True)]
    facts = {"method": found.method, "answer": found.answer, "instead": instead, "value": found.value}
    return facts | {"without_prompt": found.baseline, "left": found.left, "tokens": tokens}
