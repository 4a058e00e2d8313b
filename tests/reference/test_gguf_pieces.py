"""WordPiece and unigram vocabularies of GGUF files: the tokens of transformers, and hostile files."""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers
from tokens.corpus import TEXTS

from lmworks.basics.errors import LmworksError, ModelError
from lmworks.models.files.gguf_vocabulary import read_vocabulary
from lmworks.tokens.tokenizer import Tokenizer

TABLE = zlib.decompress(
    base64.b85decode(
        r"c-kG)36Pd!902hD_f0jnk!dF5n1tyd*QbpVx>Syo+>!_#OBzQ}I=1@0EEc6}Nm;CGwc3<3bhjNc8)6kI$8JrUsT?Us2fx=l^LzjQ"
        r"|NDRDndg0<=Z$(1acV?fUPQzCkzCp8qtnso#E6`_iMs5Zh@-@8X*$ZAMWp2olIM-w3e%CjDx$G8r%w9E$d?X}INoH(VX8QRrcAF%"
        r"haqtir*JZr)#+pj(Sqi*q9vzu8fVa&vp5sWiL*JE3`>qpM;q}x+R~2mxq$XuNCz(FB0ABLE_CJ+y3(C)TuKiv=Q4V71--ZuuN%F&"
        r"nm%01HC)ei+{g{|<tF-ZGyS=R+qjk68Ni*~!5{`Qgu&cJ0YkZ)Vcf&L$(WLK+%MjTPaO~NAR`#bLp;nV#xR<3jAcB9Ok@JNWYc+s"
        r"NjypskMkH$P|Q<2$rL6tm8X+EWg0V?!84RFi)We5b3D%+UZ9khc#)SW<5gbabzb8Q%Bf&3^LUf_$(dmRZ}Bz@d6##1pZ8eA2Ykeb"
        r"EaqdDCTE7_EMp}rsA3gsSj{@tvYt<pUU4cu6*o}L=X}OSzThjq<ZEi!%qG6&8@BKr+t|tve9uq(NFBB8U^_ecr7{(}#GjL1HWhW#"
        r"Qn5$AJL$2P-}se%{LX&<;7<<lH-B-Ee>lt`{^iL3zkeo^iTuc~%@wtE;tPgGRYm*<^k$cT"
    )
)
"""SentencePiece's table of characters, made by its trainer from ten rules: white space, a ligature, a full-width letter
and the like."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True)
class Small:
    """What is read of a GGUF file."""

    metadata: dict[str, Any]
    path: Path = Path("small.gguf")


def made(entries: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of a file with these `tokenizer.ggml` entries."""
    metadata = {f"tokenizer.ggml.{key}": value for key, value in entries.items()}
    return Tokenizer(read_vocabulary(Small(metadata)))


@pytest.fixture(scope="module", params=[True, False], ids=["lower", "cased"])
def pieces(request: pytest.FixtureRequest) -> tuple[dict[str, int], bool]:
    """A WordPiece vocabulary of the corpus, and whether texts are put into lower case."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=request.param)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator(TEXTS * 2, trainer)
    return backend.get_vocab(), request.param


def word_piece_entries(vocabulary: Mapping[str, int]) -> dict[str, Any]:
    """As llama.cpp's converter writes them."""
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    turned = [
        one if one in SPECIAL else one.removeprefix("##") if one.startswith("##") else f"▁{one}" for one in tokens
    ]
    kinds = [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL))
    return {"model": "bert", "tokens": turned, "token_type": kinds}


def test_word_pieces_are_those_of_transformers(pieces: tuple[dict[str, int], bool]):
    from transformers import BertTokenizer

    vocabulary, lower = pieces
    ours, theirs = made(word_piece_entries(vocabulary)), BertTokenizer(vocab=vocabulary, do_lower_case=lower)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], repr(text)
    assert theirs("The first", "a Second")["input_ids"] == [
        *ours.encode("The first"),
        *ours.encode("a Second", special=False),
        *ours.suffix,
    ]
    assert (ours.pad, ours.unknown, ours.mask, ours.between) == (0, 1, 4, (3,))


@pytest.fixture(scope="module")
def unigram() -> list[tuple[str, float]]:
    """A unigram vocabulary of the corpus: pieces and scores."""
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.Precompiled(TABLE)
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(TEXTS * 2, trainer)
    return [(piece, score) for piece, score in json.loads(backend.to_str())["model"]["vocab"]]


def unigram_entries(vocabulary: list[tuple[str, float]]) -> dict[str, Any]:
    """As llama.cpp's converter writes them."""
    tokens, scores = (list(one) for one in zip(*vocabulary, strict=True))
    kinds = [3, 3, 2] + [1] * (len(tokens) - 3)
    said = {"eos_token_id": 1, "unknown_token_id": 2, "padding_token_id": 0, "precompiled_charsmap": list(TABLE)}
    return {"model": "t5", "tokens": tokens, "scores": scores, "token_type": kinds, **said}


def test_a_unigram_model_gives_the_tokens_of_transformers(unigram: list[tuple[str, float]]):
    from transformers import T5Tokenizer

    ours = made(unigram_entries(unigram))
    theirs = T5Tokenizer(vocab=unigram, _spm_precompiled_charsmap=TABLE, extra_ids=0, additional_special_tokens=[])
    for text in [*TEXTS, "  two  spaces ", "ﬁne\tＦull ½…", "a\u3000b", " "]:
        # transformers splits at every white space, and a real table maps all of it to spaces.
        if "▁" not in text and all(one in " \t\n\r\u00a0\u3000" for one in text if one.isspace()):
            assert ours.encode(text) == theirs(text)["input_ids"], repr(text)
    assert ours.decode(ours.encode("two words")) == "two words"
    assert ours.encode("b", special=False, continues=True) != ours.encode("b", special=False)


def test_a_special_tokens_text_gets_no_space_in_its_middle(unigram: list[tuple[str, float]]):
    """The normaliser leaves nothing of a line's end, so that a text after one is no text that goes on."""
    ours = made(unigram_entries(unigram))
    names = [ours.vocabulary.backend.id_to_token(one) for one in ours.encode("x</s>y", special=False)]
    assert "".join(names) == "▁x</s>y" and "</s>" not in names


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": [0.0]}, "1 scores"),
        ({"scores": [float("nan")] * 500}, "not finite"),
        ({"precompiled_charsmap": [1, 2, 3]}, "cannot be used"),
        ({"unknown_token_id": 10**6}, "names 1000000 as its unknown token"),
        ({"tokens": ["a" * 2000, "b", "c"], "scores": [0.0] * 3, "token_type": [1, 1, 2]}, "over 1,024 characters"),
    ],
)
def test_a_hostile_unigram_vocabulary_is_one_sentence(
    change: dict[str, Any], words: str, unigram: list[tuple[str, float]]
):
    entries = unigram_entries(unigram) | change
    if change.get("scores") and len(change["scores"]) == 500:
        entries["scores"] = change["scores"][:1] * len(entries["tokens"])
    with pytest.raises(ModelError, match=words):
        made(entries)


def test_word_pieces_without_their_special_tokens_are_refused(pieces: tuple[dict[str, int], bool]):
    entries = word_piece_entries(pieces[0])
    with pytest.raises(ModelError, match=r"two tokens of one text, or no \[CLS\]"):
        made(entries | {"tokens": [one.replace("[SEP]", "▁[sep") for one in entries["tokens"]]})
    with pytest.raises(ModelError, match="two tokens of one text"):
        made(entries | {"tokens": [*entries["tokens"][:-2], "▁[x]", "[x]"]})


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_damaged_entries_give_a_tokenizer_or_one_sentence(
    kind: str, pieces: tuple[dict[str, int], bool], unigram: list[tuple[str, float]]
):
    """Two hundred files whose lists are cut, or have an entry of another one's place, or bytes of the table turned."""
    whole = word_piece_entries(pieces[0]) if kind == "bert" else unigram_entries(unigram)
    draws = random.Random(0)
    for number in range(200):
        entries = {key: list(value) if isinstance(value, list) else value for key, value in whole.items()}
        key = draws.choice([key for key, value in entries.items() if isinstance(value, list)])
        place = draws.randrange(len(entries[key]))
        if number < 100:
            del entries[key][place:]
        elif key == "precompiled_charsmap":
            entries[key][place] ^= 1 << draws.randrange(8)
        else:
            entries[key][place] = draws.choice(entries[key])
        try:
            made(entries).encode("A text, ﬁne and Ｆull of\u3000all … things")
        except LmworksError as error:
            assert "\n" not in str(error)
