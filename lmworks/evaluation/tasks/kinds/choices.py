"""Choices, of which one is right: each is read after its context, or, of two sentences by a masked model, by the tokens
that both share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.errors import DataError
from lmworks.encoding.pseudo_likelihood import pseudo_logprobs
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Choices
from lmworks.evaluation.tasks.kind import Kind
from lmworks.evaluation.tasks.scores import ItemScores, of_choices, shared
from lmworks.generation.continuations import Continuation, Reading
from lmworks.language_model import LanguageModel
from lmworks.tokens.chat.conversation import encode_chat
from lmworks.tokens.continuation import Pair, encode_pairs
from lmworks.tokens.tokenizer import Tokenizer


def _scored(model: LanguageModel, asked: AskedTask, left: Sequence[Choices], reading: Reading) -> Iterator[ItemScores]:
    masked = model.config.arrangement == "encoder"
    yield from _masked(model, asked, left) if masked else _read(model, asked, left, reading)


def _masked(model: LanguageModel, asked: AskedTask, left: Sequence[Choices]) -> Iterator[ItemScores]:
    """Pairs of sentences by a masked model: each token that both share is masked, one at a time (Nangia et al. 2020,
    https://arxiv.org/abs/2010.00133, section 3)."""
    if "shared" not in asked.task.scored:
        model.must_write()
    for item in left:
        sentences = [model.tokenizer.encode(text, special=False) for text in item.choices]
        places = shared(*sentences)
        found = [
            sum(pseudo_logprobs(model.runner, model.tokenizer, ids, own))
            for ids, own in zip(sentences, places, strict=True)
        ]
        yield ItemScores(item.name, item.group, {"shared": found}, item.right)


def _read(model: LanguageModel, asked: AskedTask, left: Sequence[Choices], reading: Reading) -> Iterator[ItemScores]:
    texts: list[tuple[str, str]] = []
    owners: list[int] = []
    for number, item in enumerate(left):
        texts += item.after(asked.examples)
        if asked.pmi:
            texts += ((asked.task.domain, continuation) for _, continuation in item.asked)
        owners += [number] * (len(texts) - len(owners))
    pairs = _in_chat(model.tokenizer, texts) if asked.chat else encode_pairs(model.tokenizer, texts, owners)
    for (_, continuation), owner in zip(pairs, owners, strict=True):
        if len(continuation) > model.longest:
            raise DataError(
                f"{left[owner].name}: a choice has {len(continuation):,} tokens and the model reads "
                f"{model.longest:,}; leave the item out, or take a model that reads more"
            )
    first = {owner: at for at, owner in reversed(list(enumerate(owners)))}
    found: dict[int, dict[int, Continuation]] = defaultdict(dict)
    cut_before = len(reading.cut)
    for number, one in model.continuations(pairs, reading):
        owner = owners[number]
        found[owner][number - first[owner]] = one
        item = left[owner]
        if len(found[owner]) == len(item.asked) * (1 + asked.pmi):
            done = found.pop(owner)
            ordered = [done[at] for at in range(len(done))]
            at = first[owner]
            tokens = [continuation for _, continuation in pairs[at : at + len(item.asked)]]
            yield of_choices(item, asked.scored, ordered[: len(item.asked)], ordered[len(item.asked) :], tokens)
    if cut := list(dict.fromkeys(left[owners[number]].name for number in reading.cut[cut_before:])):
        lost = "are longer than {}, and lost their" if len(cut) > 1 else "is longer than {}, and lost its"
        progress.note(
            f"{asked.what}: {counted(len(cut), 'item')} (the first: {cut[0]}) "
            + lost.format(f"the {model.longest:,} tokens that the model reads")
            + f" beginning; {'fewer shots keep it' if asked.shots else 'shorten the questions'}"
        )


def _in_chat(tokenizer: Tokenizer, texts: Sequence[tuple[str, str]]) -> list[Pair]:
    """Each context as a user's turn, and what follows as the beginning of the model's, before which no space stands.
    (lm-evaluation-harness counts a line end with which the template ends to what follows; it costs next to nothing.)"""
    contexts = dict.fromkeys(context for context, _ in texts)
    read = {context: encode_chat(tokenizer, [{"role": "user", "content": context}]) for context in contexts}
    goes_on = {context: tokenizer.goes_on_after(ids) for context, ids in read.items()}
    return [
        (read[context], tokenizer.encode(continuation.removeprefix(" "), special=False, continues=goes_on[context]))
        for context, continuation in texts
    ]


def _judged(item: Choices, found: ItemScores) -> ItemScores:
    return replace(found, group=item.group, right=item.right)


CHOICES = Kind("choices", Choices, _scored, _judged)
