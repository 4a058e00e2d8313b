"""SentencePiece's BPE through a GGUF file: the ids of the public package that trained it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from jobs.small_files import TEXTS as LISTS
from models.files.test_gguf_pieces_writing import stored
from tokenizers import AddedToken, decoders, models, normalizers
from tokens.corpus import TEXTS

from lmworks.models.files.gguf_pieces_writing import HARD
from lmworks.models.files.gguf_vocabulary import gguf_tokenizer
from lmworks.models.files.gguf_vocabulary_writing import vocabulary_entries
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary, add_around

sentencepiece = pytest.importorskip("sentencepiece", reason="pip install sentencepiece")
SIZE = 620
OWN = ["<b>", "\n\n"]
"""Symbols of the user's."""


def trained(in_front: bool) -> Any:
    """SentencePiece's own processor, as Llama 2's or Gemma's was trained."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXTS, *LISTS]),
        model_writer=made,
        model_type="bpe",
        vocab_size=SIZE,
        byte_fallback=True,
        character_coverage=0.99,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=in_front,
        user_defined_symbols=OWN,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())


def as_transformers_writes(theirs: Any, in_front: bool) -> Tokenizer:
    """Its tokenizer.json: of each piece, best first, every pair of pieces that makes it."""
    pieces = [theirs.id_to_piece(number) for number in range(SIZE)]
    ids = {piece: number for number, piece in enumerate(pieces)}
    own = [number for number in range(SIZE) if not (theirs.is_control(number) or theirs.is_unknown(number))]
    merges = [
        (pieces[number][:cut], pieces[number][cut:])
        for number in sorted(own, key=theirs.get_score, reverse=True)
        for cut in range(1, len(pieces[number]))
        if pieces[number][:cut] in ids and pieces[number][cut:] in ids and pieces[number] not in OWN
    ]
    backend = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps: list[Any] = [normalizers.Prepend("▁")] * in_front + [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence(steps)
    after: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(after + [decoders.Strip(" ", 1, 0)] * in_front)
    backend.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in ("<unk>", "<s>", "</s>")])
    backend.add_tokens([AddedToken(one, normalized=False) for one in OWN])
    add_around(backend, 1, None)
    return Tokenizer(Vocabulary(backend, "trained", bos=1, eos=2, unknown=0))


@pytest.mark.parametrize("in_front", [True, False], ids=["Llama 2", "Gemma"])
def test_ids_from_the_file_are_those_of_the_package_that_trained_the_pieces(in_front: bool, tmp_path: Path):
    theirs = trained(in_front)
    entries = vocabulary_entries(as_transformers_writes(theirs, in_front), SIZE)
    back = gguf_tokenizer(stored(tmp_path / "v.gguf", entries))
    scores = dict(zip(entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.scores"], strict=True))
    learnt = [number for number in range(SIZE) if len(theirs.id_to_piece(number)) > 1 and theirs.get_score(number) < 0]
    order = sorted(learnt, key=lambda number: scores[theirs.id_to_piece(number)], reverse=True)
    assert order == sorted(learnt, key=theirs.get_score, reverse=True) and len(order) > 80
    for text in (*HARD, *TEXTS, *LISTS[:9]):
        # After a symbol of the user's, transformers and llama.cpp put a space in front again.
        if "\0" not in text and not (in_front and any(one in text for one in OWN)):
            assert back.encode(text, special=False) == theirs.encode(text), repr(text)
