"""Silent errors of templates: pitfalls 1 to 4."""

from __future__ import annotations

import pytest
from tokens.small import byte_level
from tokens.templates import TEMPLATES

from lmworks.basics.errors import DataError, ModelError
from lmworks.text.document import Document
from lmworks.tokens.chat import conversation
from lmworks.tokens.chat.conversation import encode_chat, encode_conversation, encode_document, tools_in
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary, make_special

CHAT = [
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "A tin.\n\n"},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "\nYes, <|im_end|> and <"},
]
CLOSING = {
    "ChatML": "<|im_end|>",
    "Llama 3": "<|eot_id|>",
    "Mistral": "</s>",
    "Gemma": "<end_of_turn>",
    "Zephyr": "</s>",
}
EXTRA = ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>"]


def tokenizer_with(shape: str):
    tokenizer = byte_level(TEMPLATES.get(shape, shape), eos="</s>" if shape in ("Mistral", "Zephyr") else "<|im_end|>")
    make_special(tokenizer.vocabulary.backend, EXTRA)
    vocabulary = tokenizer.vocabulary
    return Tokenizer(
        Vocabulary(
            vocabulary.backend,
            "tiny",
            bos=vocabulary.bos,
            eos=vocabulary.eos,
            chat_template=vocabulary.chat_template,
        )
    )


@pytest.mark.parametrize("shape", CLOSING)
def test_what_is_trained_is_what_is_read_token_for_token(shape):
    """Pitfall 1: each prompt is a prefix of the training ids, also where a turn begins with a line break."""
    tokenizer = tokenizer_with(shape)
    ids, supervised = encode_conversation(tokenizer, CHAT)
    for turn in (1, 3):
        prompt = encode_chat(tokenizer, CHAT[:turn], add_generation_prompt=True)
        assert ids[: len(prompt)] == prompt
        assert supervised[len(prompt)] and not supervised[len(prompt) - 1]
    assert encode_chat(tokenizer, CHAT, add_generation_prompt=False) == ids


@pytest.mark.parametrize("shape", CLOSING)
def test_the_closing_token_of_every_turn_carries_loss_and_nothing_else_does(shape):
    """Pitfall 2: exactly the assistant's words and what ends them."""
    tokenizer = tokenizer_with(shape)
    ids, supervised = encode_conversation(tokenizer, CHAT)
    spoken = tokenizer.decode([number for number, carries in zip(ids, supervised, strict=True) if carries], False)
    words = [CHAT[1]["content"], CHAT[3]["content"]]
    if shape in ("Llama 3", "Gemma"):
        words = [text.strip() for text in words]
    lead = {"Mistral": " ", "Zephyr": ""}.get(shape, "")
    assert spoken == "".join(lead + text + CLOSING[shape] for text in words)
    ends = [place for place, number in enumerate(ids) if number in tokenizer.stop_ids and supervised[place]]
    assert len(ends) == 2


@pytest.mark.parametrize("messages", [CHAT[:1], CHAT[1:2], [{"role": "system", "content": "x"}]])
def test_a_conversation_with_nothing_to_learn_is_named(messages):
    """Pitfall 3."""
    with pytest.raises(DataError, match=r"chats.jsonl#7 has no assistant's turn"):
        encode_conversation(tokenizer_with("ChatML"), messages, "chats.jsonl#7")


def test_a_template_that_closes_no_turn_is_an_error():
    """Pitfall 2: the model would never learn to stop; the next user's closing token is not taken for it."""
    open_ended = (
        "{% for m in messages %}{{ m.role + ': ' + m.content }}{% if m.role == 'user' %}<|im_end|>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    for chat in (CHAT, CHAT[:2], CHAT[:3]):
        with pytest.raises(ModelError, match="no token at which the model stops"):
            encode_conversation(tokenizer_with(open_ended), chat)


def test_a_template_that_rewrites_earlier_turns_is_an_error():
    """Pitfall 1: thoughts that later turns lose would be learnt in a context that never comes back."""
    thoughts = [*CHAT[:1], {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA tin."}, *CHAT[2:]]
    with pytest.raises(ModelError, match="differently for training and for answering"):
        encode_conversation(tokenizer_with("Qwen 3"), thoughts)
    shouting = "{% for m in messages %}{{ m.content if loop.last else m.content | upper }}<|im_end|>{% endfor %}"
    with pytest.raises(ModelError, match="differently for training and for answering"):
        encode_conversation(tokenizer_with(shouting), CHAT)


LOOKS = {"type": "object", "properties": {"at": {"type": "string"}}}
CALLED = {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": {"at": "tin"}}}]}


@pytest.mark.parametrize(
    ("turns", "spoken"),
    [
        (CHAT, ["A tin.", "Yes"]),
        ([*CHAT[:1], {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA tin."}, *CHAT[2:]], ["hm", "Yes"]),
        ([CHAT[0], CALLED, {"role": "tool", "content": "Tin."}, CHAT[3]], ["look", "Yes"]),
    ],
    ids=["two answers", "thoughts", "a call and its result"],
)
def test_where_earlier_turns_are_rewritten_each_answer_is_learnt_after_the_prompt_that_a_model_is_asked_with(
    turns, spoken
):
    """Pitfall 1. Qwen 3's template leaves the thoughts of all but the last answer out."""
    tokenizer = tokenizer_with("Qwen 3")
    turns = [{"content": "", **turn} for turn in turns]
    look = {"type": "function", "function": {"name": "look", "parameters": LOOKS}}
    document = Document.conversation(
        turns,
        "chats.jsonl#7",
        tools=[look] if "tool_calls" in turns[1] else (),
    )
    found = encode_document(tokenizer, document)
    assert len(found) == 2
    for (ids, supervised), at, words in zip(found, (1, 3), spoken, strict=True):
        start = supervised.index(True)
        assert ids[:start] == encode_chat(tokenizer, document.messages[:at], tools=tools_in(document))
        learnt = [number for number, carries in zip(ids, supervised, strict=True) if carries]
        assert words in tokenizer.decode(learnt) and learnt[-1] in tokenizer.stop_ids
        assert sum(number in tokenizer.stop_ids for number in learnt) == 1
    unlearnt = [turns[0], turns[1] | {"weight": "0"}, *turns[2:]]
    assert len(encode_document(tokenizer, Document.conversation(unlearnt, "x", tools=document.tools))) == 1


@pytest.mark.parametrize("shape", ["Llama 3", "Mistral", "Gemma", None])
def test_a_conversation_has_one_bos_however_it_comes(shape):
    """Pitfall 4: the template's BOS and the tokenizer's own do not add up."""
    tokenizer = byte_level(TEMPLATES.get(shape), adds_bos=True)
    ids = encode_chat(tokenizer, CHAT[:1])
    assert ids[0] == tokenizer.bos and ids.count(tokenizer.bos) == 1
    rendered = tokenizer.chat.render(CHAT[:1], add_generation_prompt=True)
    assert tokenizer.encode(rendered, markup=True) == ids


ODD = ["What?", "Sure. ", "\nYes", "x", "<|im_end|>", " two\n\n", "x\n", "<"]


@pytest.mark.parametrize("shape", [*CLOSING, "ChatML on lines", "Qwen 3", None])
def test_a_long_conversation_has_the_ids_of_its_parts(shape, monkeypatch):
    """Pitfall 1: answers far back begin where they began when they were written, white space and all."""
    tokenizer = tokenizer_with(shape) if shape else byte_level(None)
    turns = [{"role": ("user", "assistant")[n % 2], "content": ODD[(n * 3 + n // 8) % 8]} for n in range(39)]
    quick = encode_chat(tokenizer, turns)
    monkeypatch.setattr(conversation, "EXACT", 1000)
    assert quick == encode_chat(tokenizer, turns)


def test_a_long_conversation_is_rendered_a_bounded_number_of_times(monkeypatch):
    """Not once for each of its answers: 4,096 messages would take a minute."""
    tokenizer, rendered = tokenizer_with("ChatML"), []
    render = tokenizer.chat._render
    monkeypatch.setattr(tokenizer.chat, "_render", lambda *asked: rendered.append(1) or render(*asked))
    encode_chat(tokenizer, [{"role": ("user", "assistant")[n % 2], "content": "x"} for n in range(501)])
    assert len(rendered) <= 2 * (conversation.EXACT + 2)
