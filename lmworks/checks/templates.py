"""Checks of the chat template, and of what each way into the library makes of a text: pitfalls 1, 2, 4, 7."""

from __future__ import annotations

import contextvars
from collections.abc import Callable

import torch

from lmworks.checks.probes import CONVERSATION, QUESTION, TEXT, as_row, probe_ids
from lmworks.checks.result import TOLERANCES, Difference, NotApplicableError, Outcome, check, ids_apart, type_name
from lmworks.evaluation.likelihood import measure
from lmworks.generation.scoring import token_logprobs
from lmworks.language_model import LanguageModel
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.tokens.batch import Example, example_of, pack, stack
from lmworks.tokens.chat.conversation import encode_chat, encode_conversation

LOSS = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}
"""How far the mean loss may differ, in nats a token. Labels that are shifted wrongly differ by several nats."""


@check("template read as it is trained", 1, of="model", continues=True)
def template_prefix(model: LanguageModel) -> Outcome:
    """A conversation rendered for training and for inference."""
    tokenizer = model.tokenizer
    _needs_template(model)
    trained, _ = encode_conversation(tokenizer, CONVERSATION)
    differences = []
    for place in (1, 3):
        prompt = encode_chat(tokenizer, CONVERSATION[:place], add_generation_prompt=True)
        differences.append(
            ids_apart(f"the prompt for turn {place + 1} and what was trained before it", prompt, trained[: len(prompt)])
        )
    # What transformers and vLLM read for the same messages: the rendering as one text.
    rendered = tokenizer.chat.render(CONVERSATION[:1], add_generation_prompt=True)
    whole = tokenizer.library_ids(rendered)
    differences.append(ids_apart("what is trained and what transformers reads", trained[: len(whole)], whole))
    return Outcome(f"two answers' prompts against {len(trained)} training tokens", differences)


@check("end of turn is learnt", 2, of="model", continues=True)
def template_closing(model: LanguageModel) -> Outcome:
    """The token that closes each turn of the assistant, and whether it carries loss."""
    _needs_template(model)
    tokenizer = model.tokenizer
    ids, supervised = encode_conversation(tokenizer, CONVERSATION)
    turns = [message["content"] for message in CONVERSATION if message["role"] == "assistant"]
    closing = [
        number for number, carries in zip(ids, supervised, strict=True) if carries and number in tokenizer.stop_ids
    ]
    spoken = tokenizer.decode([number for number, carries in zip(ids, supervised, strict=True) if carries])
    silent = [turn for turn in turns if turn not in spoken]
    names = sorted({tokenizer.special.get(number, str(number)) for number in closing})
    return Outcome(
        f"{len(turns)} turns of the assistant against the supervised tokens",
        [
            Difference("the turns and the closing tokens that carry loss", abs(len(turns) - len(closing)), 0, "turns"),
            Difference(
                "the assistant's words and those that carry loss",
                len(silent),
                0,
                "turns",
                repr(silent[0]) if silent else "",
            ),
        ],
        f"closed by {', '.join(names)}",
    )


@check("same tokens through every entrance", 4, of="model", continues=True)
def entrances(model: LanguageModel) -> Outcome:
    """What the network is given by generate, score, evaluate, train and chat."""
    tokenizer = model.tokenizer
    plain = tokenizer.library_ids(QUESTION)
    start = [] if tokenizer.document_start is None else [tokenizer.document_start]
    end = [] if tokenizer.document_end is None else [tokenizer.document_end]
    document = Document(QUESTION, "the question")
    prompt = tokenizer.library_ids(QUESTION, special=True)
    expected = {  # the last token of a text is only predicted, never read
        "generate": prompt,
        "generate (its BOS written out)": prompt,
        "score": [*start, *plain][:-1],
        "evaluate": [*start, *plain][:-1],
        "train": [*start, *plain, *end],
    }
    written = tokenizer.special.get(tokenizer.bos, "") if tokenizer.prefix and tokenizer.bos is not None else ""
    actions: dict[str, Callable[[], object]] = {
        "generate": lambda: model.generate(QUESTION, max_new_tokens=1),
        "generate (its BOS written out)": lambda: model.generate(written + QUESTION, max_new_tokens=1),
        "score": lambda: model.score(QUESTION),
        "evaluate": lambda: measure(model, [document], "the question"),
        "train": lambda: CausalLM()(model.network, stack(pack([example_of(document, tokenizer)], 4 * len(prompt) + 8))),
    }
    read = {name: _read_by(model, action) for name, action in actions.items()}
    read["train"] = read["train"][: len(expected["train"])]  # rows are padded
    differences = [ids_apart(f"{name} and the tokenizer's own ids", read[name], ids) for name, ids in expected.items()]
    read["chat"] = _read_by(model, lambda: model.generate(CONVERSATION[:1], max_new_tokens=1))
    bos = tokenizer.bos
    for name, ids in read.items():
        if bos is None or bos not in tokenizer.prefix:
            break  # the tokenizer adds none, so none is missing
        count = ids.count(bos)
        differences.append(
            Difference(f"BOS as {name} reads it and one BOS", abs(count - 1), 0, "BOS", f"{count} of them")
        )
    front = tokenizer.special.get(tokenizer.prefix[0], "") if tokenizer.prefix else "nothing"
    return Outcome(f"{len(read)} entrances", differences, f"the tokenizer puts {front} in front of a text")


@check("loss is the text's log-probability", 7, of="model", numbers="both", continues=True)
def loss_by_hand(model: LanguageModel) -> Outcome:
    """The loss of training, the score, and the formula by hand."""
    network, dtype = model.network, model.network.dtype
    ids = probe_ids(model)
    row = as_row(ids, network)
    by_hand = network(row)[0, :-1].log_softmax(-1).gather(1, row[0, 1:, None])[:, 0]
    scored = sum(token_logprobs(model.runner, ids, model.longest)) / len(by_hand)
    batch = stack(pack([Example(ids, [False] + [True] * (len(ids) - 1), TEXT)], len(ids))).to(network.device)
    trained = CausalLM()(network, batch)
    expected, unit = float(by_hand.mean()), f"nats a token, {type_name(dtype)}"
    tolerance = LOSS.get(dtype, TOLERANCES[torch.float32])
    return Outcome(
        f"mean over {len(by_hand)} tokens: training, scoring and the formula",
        [
            Difference("the training loss and the formula", abs(float(trained.mean) + expected), tolerance, unit),
            Difference("the score and the formula", abs(scored - expected), tolerance, unit),
            Difference("the supervised tokens and those of the text", abs(trained.count - len(by_hand)), 0, "tokens"),
        ],
        f"{-expected:.3f} nats a token",
    )


def _needs_template(model: LanguageModel) -> None:
    if model.tokenizer.chat.is_plain:
        raise NotApplicableError("the model has no chat template")


def _read_by(model: LanguageModel, action: Callable[[], object]) -> list[int]:
    """The first ids that an action gives to the network."""
    read: list[list[int]] = []
    watch = model.network.embedding.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0][0].tolist()))
    try:
        contextvars.Context().run(action)  # without the progress lines of a measurement that is none
    finally:
        watch.remove()
    return read[0] if read else []
