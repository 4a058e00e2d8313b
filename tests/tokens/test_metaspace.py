"""Special tokens between words that SentencePiece begins with a space, as the library reads them."""

from __future__ import annotations

import pytest
import tiny
import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from lmworks.encoding.filling import masked_ids
from lmworks.inside.patching import log_probability
from lmworks.language_model import LanguageModel
from lmworks.tokens.chat.conversation import encode_chat, encode_continued, encode_conversation
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary

SCHEMES = ("always", "first", "never")
TEMPLATES = {
    "next to words": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "after a line": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "two together": "{% for m in messages %}<|turn|><|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|><|assistant|>{% endif %}",
}
SPECIAL = ("<|user|>", "<|assistant|>", "<|end|>", "<|turn|>", "<mask>")
TURNS = (
    [("user", "hello a"), ("assistant", "b hello"), ("user", " c  "), ("assistant", "a")],
    [("user", ""), ("assistant", "hello"), ("user", "a"), ("assistant", " b\nc")],
)


def tokenizer(scheme: str, split: bool, template: str = "", strips: bool = False) -> Tokenizer:
    letters = [(one, -3.0) for one in "helo abc\n▁"] + [("▁hello", -4.0), ("hello", -4.0), ("▁a", -4.0), ("▁b", -4.0)]
    backend = tokenizers.Tokenizer(models.Unigram([("<unk>", -20.0), *letters], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
    backend.add_special_tokens([AddedToken(one, special=True, normalized=False, rstrip=strips) for one in SPECIAL])
    return Tokenizer(Vocabulary(backend, "metaspace", eos=backend.token_to_id("<|end|>"), chat_template=template))


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_special_tokens_anywhere_in_a_text(scheme: str, split: bool):
    ours = tokenizer(scheme, split)
    for text in ("<|end|>hello a", "hello<|end|>a b", "hello a<|end|>", "a<|end|><|user|>b", "a <|end|> b", "<|end|>"):
        assert ours.encode(text, markup=True) == ours.library_ids(text)
        assert ours.decode(ours.encode(text, markup=True), skip_special=False) is not None


@pytest.mark.parametrize("strips", [False, True], ids=["keeps", "strips"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_answers_that_follow_a_special_token(scheme: str, split: bool, template: str, strips: bool):
    ours = tokenizer(scheme, split, template, strips)
    for said in TURNS:
        # White space that an answer begins with would be taken away by what stands before it: there it stays.
        turns = [{"role": role, "content": content.lstrip() if strips else content} for role, content in said]
        whole = ours.library_ids(ours.chat.render(turns, add_generation_prompt=False))
        assert encode_chat(ours, turns, add_generation_prompt=False) == whole
        ids, learnt = encode_conversation(ours, turns)
        assert ids == whole
        ends = [place for place, number in enumerate(ids) if number == ours.eos]
        assert [place for place in ends if learnt[place]] == ends[1::2]
        asked = ours.library_ids(ours.chat.render(turns[:3], add_generation_prompt=True))
        assert encode_chat(ours, turns[:3]) == asked
        begun = {"role": "assistant", "content": "hello"}
        answered = ours.library_ids(ours.chat.render([*turns[:3], begun], add_generation_prompt=False))
        end = len(answered) - 1 - answered[::-1].index(ours.eos)
        assert encode_continued(ours, [*turns[:3], begun]) == answered[:end]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_special_tokens_written_in_a_message_stay_text_and_have_the_space_that_text_has(scheme: str):
    ours = tokenizer(scheme, True, TEMPLATES["next to words"])
    turns = [{"role": "user", "content": "<|end|> a"}, {"role": "assistant", "content": "b<|end|>"}]
    ids = encode_chat(ours, turns, add_generation_prompt=False)
    assert [number for number in ids if number in ours.special] == ours.library_ids(
        "<|user|><|end|><|assistant|><|end|>"
    )
    user, end, assistant = (ids.index(ours.library_ids(one)[0]) for one in ("<|user|>", "<|end|>", "<|assistant|>"))
    space = [] if scheme != "always" else ours._markup.encode("▁").ids[:1]
    assert ids[user + 1 : end][: len(space)] == space
    assert ids[assistant + 1] == ours._markup.token_to_id("▁b" if scheme == "always" else "b")


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_follows_a_mask_is_read_as_the_library_reads_it(scheme: str, split: bool):
    ours = tokenizer(scheme, split)
    for text in ("<mask>hello a", "hello<mask>a", "a<mask>", "a<mask><mask>b"):
        read = ours.library_ids(text)
        begins = [] if text.startswith("<mask>") else read[: read.index(ours.mask)]
        assert masked_ids(ours, text)[-len(read) + len(begins) :] == read[len(begins) :]


@pytest.mark.parametrize(("scheme", "first"), [("always", "▁b"), ("first", "b"), ("never", "b")])
def test_an_answer_that_is_scored_begins_as_it_is_written(scheme: str, first: str):
    ours = tokenizer(scheme, True, TEMPLATES["next to words"])
    model = LanguageModel(tiny.network(vocab_size=ours.vocab_size), ours)
    question = [{"role": "user", "content": "a"}]
    read = ours.library_ids("<|user|>a<|end|><|assistant|>b")
    assert model.score("b", prompt=question).tokens == read[-1:] == [ours._markup.token_to_id(first)]
    assert model.score("b", prompt="<|assistant|>").tokens == [ours._markup.token_to_id("b")]  # text, not a token


def test_an_answer_whose_cause_is_sought_begins_as_it_is_written():
    ours = tokenizer("always", True, TEMPLATES["next to words"])
    model = LanguageModel(tiny.network(vocab_size=ours.vocab_size), ours)
    clean, corrupt = ([{"role": "user", "content": text}] for text in ("a", "b"))
    written = log_probability(ours._markup.token_to_id("▁b"))
    torch.testing.assert_close(model.patch(clean, corrupt, "b"), model.patch(clean, corrupt, written))
