"""Word vectors: every file gives the same ones, a damaged file is one sentence, an embedding starts from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import byte_tokenizer, network
from tokens.small import byte_level

from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.models.relatives import vector_files as module
from lmworks.models.relatives.vector_files import read_vectors
from lmworks.models.relatives.vectors import Vectors, embedding_vectors, initialise_embedding

WORDS = ("the", "of", "New York", "naïve", "\u0085", "it’s")
MATRIX = np.random.default_rng(0).normal(size=(len(WORDS), 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def lines():
    return "".join(f"{word} {' '.join(map(repr, row))}\n" for word, row in zip(WORDS, MATRIX.tolist(), strict=True))


def write_glove(folder):
    (folder / "v.txt").write_text(lines(), encoding="utf-8")
    return folder / "v.txt"


def write_word2vec(folder):
    (folder / "v.vec").write_text(f"{len(WORDS)} 4\n" + lines().replace("\n", " \n"), encoding="utf-8")
    return folder / "v.vec"


def write_json(folder):
    rows = {word: [*row, 1.0, at] for at, (word, row) in enumerate(zip(WORDS, MATRIX.tolist(), strict=True))}
    (folder / "v.json").write_text(json.dumps({"precision": 8, "dimensions": 4, "vectors": rows}), encoding="utf-8")
    return folder / "v.json"


def write_own(folder):
    Vectors(WORDS, MATRIX).save(folder / "v.safetensors")
    return folder / "v.safetensors"


def write_beside(folder):
    save_file({"embedding.weight": torch.from_numpy(MATRIX)}, folder / "w.safetensors")
    (folder / "w.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder / "w.safetensors"


WRITERS = [write_glove, write_word2vec, write_json, write_own, write_beside]


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_of_file_gives_the_same_vectors(tmp_path, write):
    read = read_vectors(write(tmp_path))
    assert read.words == WORDS and np.array_equal(read.matrix, MATRIX)
    assert "of" in read and "off" not in read and np.array_equal(read["of"], MATRIX[1])


@pytest.mark.parametrize("write", [write_glove, write_word2vec, write_json])
def test_a_large_file_is_parsed_once_and_again_when_it_changed(tmp_path, cache, monkeypatch, write):
    monkeypatch.setattr(module, "WORTH_KEEPING", 1)
    path = write(tmp_path)
    first = read_vectors(path)
    (kept,) = cache.rglob("*.safetensors")
    Vectors(WORDS, MATRIX + 1).save(kept)  # so that it shows where the second reading comes from
    assert np.array_equal(read_vectors(path).matrix, first.matrix + 1)
    path.write_text(path.read_text(encoding="utf-8").replace("the", "thy"), encoding="utf-8")
    assert read_vectors(path).words[0] == "thy"


def test_lines_in_several_blocks_are_read_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)
    assert np.array_equal(read_vectors(write_word2vec(tmp_path)).matrix, MATRIX)


BROKEN = {
    "no file": (None, "does not exist"),
    "nothing in it": ("", "line 1 holds 0 numbers"),
    "only sizes": ("0 5\n", "holds no vector"),
    "no numbers": ("hello\nworld\n", "line 1 holds 0 numbers"),
    "a short line": ("a 1 2 3\nb 1 2\nc 1 2 3\n", "line 2 is not a word in UTF-8 and 3 numbers"),
    "a long line": ("3 2\na 1 2\nb 1 2 3\nc 1 2\n", None),  # a word may hold spaces: 'b 1' is one
    "a number that is none": ("a 1 2\nb 1 x\n", "line 2 is not a word"),
    "an empty line": ("a 1 2\n\nb 1 2\n", "line 2 is not a word"),
    "not finite": ("a 1 2\nb nan 2\n", "the vector of 'b' holds a number that is not finite"),
    "a word twice": ("a 1 2\nb 1 2\na 1 2\n", "the word 'a' has more than one vector"),
    "fewer than announced": ("4 2\na 1 2\nb 1 2\n", "announces 4 words and holds 2"),
    "too wide": ("9 99999\na 1\n", "line 1 holds 99999 numbers"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_text_file_is_one_sentence_that_names_the_line(tmp_path, kind):
    text, sentence = BROKEN[kind]
    path = tmp_path / "v.txt"
    if text is not None:
        path.write_text(text)
    if sentence is None:
        assert read_vectors(path).words == ("a", "b 1", "c")
        return
    with pytest.raises(DataError, match=sentence) as caught:
        read_vectors(path)
    assert "v.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_bytes_that_are_no_text_and_endless_lines_are_refused(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes(b"a 1 2\n\xff\xfe 1 2\n")
    with pytest.raises(DataError, match="line 2 is not a word in UTF-8"):
        read_vectors(path)
    path.write_bytes(b"a 1 2\n" + b"1 " * module.MOST_LINE)
    with pytest.raises(DataError, match="a line of more than"):
        read_vectors(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"dimensions": 2, "vectors": {"a": [1]}}',
        '{"dimensions": true, "vectors": {"a": [1]}}',
        '{"dimensions": 2, "vectors": {"a": [1, 2], "b": [1]}}',
        '{"dimensions": 2, "vectors": {"a": ["x", 2]}}',
        '{"dimensions": 2, "vectors": {"a": [[1], 2]}}',
        '{"dimensions": 2, "vectors": {}}',
        '{"dimensions": 2, "vectors": [[1, 2]]}',
        "[" * 100_000,
    ],
)
def test_json_that_holds_no_vectors_is_one_sentence(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(DataError, match=r"v\.json is not JSON of word vectors"):
        read_vectors(tmp_path / "v.json")


def test_safetensors_without_words_or_with_other_matrices_are_refused(tmp_path):
    path = write_beside(tmp_path)
    (tmp_path / "w.txt").write_text("the\nof\n")
    with pytest.raises(DataError, match="2 words do not go with a matrix of the shape"):
        read_vectors(path)
    (tmp_path / "w.txt").unlink()
    with pytest.raises(DataError, match=r"neither in it nor in w\.txt or vocab\.txt beside it"):
        read_vectors(path)
    save_file({"a": torch.ones(2, 2), "b": torch.ones(2, 2)}, path)
    with pytest.raises(DataError, match="holds 2 matrices"):
        read_vectors(path)
    for words in (b"[1, 2]", b"{", b"3"):
        save_file({"a": torch.ones(2, 2), "words": torch.tensor(list(words), dtype=torch.uint8)}, path)
        with pytest.raises(DataError, match="list of words is damaged"):
            read_vectors(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match="bytes early"):
        read_vectors(path)


def test_neighbours_are_those_of_the_largest_cosine():
    vectors = Vectors(WORDS, MATRIX)
    unit = MATRIX / np.linalg.norm(MATRIX, axis=1, keepdims=True)
    cosines = unit @ unit[1]
    expected = [WORDS[row] for row in np.argsort(-cosines) if row != 1]
    found = vectors.nearest("of", 99)
    assert [word for word, _ in found] == expected
    assert [cosine for _, cosine in found] == pytest.approx(sorted(np.delete(cosines, 1), reverse=True), abs=1e-6)
    with pytest.raises(DataError, match="no vector for 'Of'"):
        vectors.nearest("Of")


def test_an_analogy_follows_the_difference():
    man, royal, woman = np.eye(3, dtype=np.float32)
    vectors = Vectors(
        ("man", "woman", "king", "queen", "royal"), np.stack([man, woman, man + royal, woman + royal, royal])
    )
    assert vectors.analogy("man", "king", "woman")[0][0] == "queen"


def filled(frozen=False, **settings_):
    """A network of 32 wide, its embedding begun from vectors of some words of a byte-level vocabulary."""
    tokenizer = byte_level()
    made = network(vocab_size=tokenizer.vocab_size, **settings_)
    words = ("a", "b", "the", "you", "wordless")
    matrix = np.random.default_rng(1).normal(5, 3, (len(words), 32)).astype(np.float32)
    before = made.embedding.weight.detach().clone()
    report = initialise_embedding(made, tokenizer, Vectors(words, matrix), frozen)
    return made, tokenizer, Vectors(words, matrix), before, report


def test_rows_of_words_get_their_vectors_and_the_others_stay():
    made, tokenizer, vectors, before, report = filled()
    after = made.embedding.weight.detach()
    changed = {token for token in range(len(after)) if not torch.equal(after[token], before[token])}
    texts = {token: tokenizer.decode([token]).strip().lower() for token in range(len(after))}
    assert changed == {token for token, text in texts.items() if text in vectors}
    assert {texts[token] for token in changed} >= {"a", "b"} and "A" in {tokenizer.decode([token]) for token in changed}
    assert (report.found, report.rows) == (len(changed), len(after))
    for token in changed:  # only shifted and scaled
        assert np.corrcoef(after[token], vectors[texts[token]])[0, 1] == pytest.approx(1, abs=1e-4)
    rows = after[sorted(changed)]
    assert float(rows.mean()) == pytest.approx(float(before.mean()), abs=1e-5)
    assert float(rows.std()) == pytest.approx(float(before.std()), rel=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_embedding_stays_in_training_and_a_tuned_one_does_not(frozen):
    made, *_ = filled(frozen, tied=False)
    before = made.embedding.weight.detach().clone()
    head = made.head.weight.detach().clone()
    optimiser = torch.optim.AdamW((weight for weight in made.parameters() if weight.requires_grad), weight_decay=0.1)
    made(torch.arange(20)[None]).logsumexp(2).sum().backward()
    optimiser.step()
    assert torch.equal(made.embedding.weight, before) == frozen
    assert not torch.equal(made.head.weight, head)


def test_what_cannot_be_filled_is_refused():
    tokenizer = byte_tokenizer()
    made = network(vocab_size=tokenizer.vocab_size, tied=True)
    with pytest.raises(ConfigError, match="the vectors have 4 numbers and the network is 32 wide; give it dim = 4"):
        initialise_embedding(made, tokenizer, Vectors(WORDS, MATRIX), False)
    wide = np.ones((1, 32), dtype=np.float32)
    with pytest.raises(ConfigError, match="the head is tied"):
        initialise_embedding(made, tokenizer, Vectors(("a",), wide), True)
    with pytest.raises(DataError, match="none of the 259 tokens of bytes is one of the 1 words"):
        initialise_embedding(made, tokenizer, Vectors(("zebra",), wide), False)


def test_an_embedding_reads_back_as_the_vectors_it_began_with():
    made, tokenizer, vectors, _before, _ = filled()
    read = embedding_vectors(made, tokenizer)
    for word in ("a", "b"):
        cosine = read[word] @ (shifted := vectors[word] - vectors.matrix[:4].mean())
        assert cosine / np.linalg.norm(read[word]) / np.linalg.norm(shifted) > 0.95
    for word, row in read.rows.items():  # the first of the tokens that write the word
        first = next(at for at in range(tokenizer.vocab_size) if tokenizer.decode([at]).strip().lower() == word)
        assert np.array_equal(read.matrix[row], made.embedding.weight[first].detach().numpy())
