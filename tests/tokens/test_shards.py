"""Packed corpora: what was packed is read back, in bounded files, and what is damaged or foreign is named."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from lmworks.basics import files
from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.tokens import shards as module
from lmworks.tokens.batch import example_of
from lmworks.tokens.shards import INDEX, META, Shards, tokenizer_hash, write_shards
from lmworks.tokens.tokenizer import Tokenizer
from tokens.corpus import TEXTS
from tokens.small import byte_level, sentencepiece
from tokens.test_trainer import ALL, PROSE

DOCUMENTS = [Document(text, f"document {number}") for number, text in enumerate([*PROSE[:20], *TEXTS]) if text]


@pytest.fixture
def folder(tmp_path):
    write_shards(DOCUMENTS, ALL["bpe"], tmp_path / "packed", shard_tokens=300)
    return tmp_path / "packed"


@pytest.mark.parametrize("tokenizer", [*ALL.values(), sentencepiece(), byte_level(adds_bos=True)])
def test_documents_come_back_as_they_would_be_encoded_alone(tokenizer, tmp_path):
    shards = write_shards(DOCUMENTS, tokenizer, tmp_path, shard_tokens=500)
    kept = [document for document in DOCUMENTS if tokenizer.encode(document.text, special=False)]  # WordPiece drops " "
    assert len(shards) == len(kept) == len(DOCUMENTS) - shards.info.empty and len(shards.info.shards) > 2
    for number, document in enumerate(kept):
        assert shards.document(number).tolist() == example_of(document, tokenizer).tokens, document.source
        assert shards.text_bytes[number] == len(document.text.encode())
    assert shards.info.bytes == sum(len(document.text.encode()) for document in kept)
    stream = [number for document in kept for number in example_of(document, tokenizer).tokens]
    assert shards.tokens == len(stream) and shards.read(0, shards.tokens).tolist() == stream


def test_any_part_of_the_stream_is_read_across_files(folder):
    shards = Shards(folder, ALL["bpe"])
    stream = shards.read(0, shards.tokens).tolist()
    for start in range(0, shards.tokens, 97):
        for size in (0, 1, 50, 700):
            stop = min(start + size, shards.tokens)
            assert shards.read(start, stop).tolist() == stream[start:stop]
    with pytest.raises(DataError, match="has no tokens"):
        shards.read(0, shards.tokens + 1)
    with pytest.raises(DataError, match="has no document"):
        shards.document(len(shards))


def test_ids_of_a_large_vocabulary_take_four_bytes(tmp_path):
    tokenizer = byte_level()
    tokenizer.__dict__["vocab_size"] = 70_000
    shards = write_shards(DOCUMENTS[:3], tokenizer, tmp_path)
    assert shards.info.dtype == "uint32" and shards.document(1).tolist() == example_of(DOCUMENTS[1], tokenizer).tokens


def test_a_long_document_is_packed_in_parts_and_stays_one(tmp_path, monkeypatch):
    monkeypatch.setattr("lmworks.tokens.shards._AT_ONCE", 1000)
    monkeypatch.setattr("lmworks.tokens.chunks.segments.__defaults__", (" \n", 200))
    long = Document("\n".join(PROSE), "long")
    shards = write_shards([DOCUMENTS[0], long, DOCUMENTS[1]], ALL["bpe"], tmp_path)
    assert [shards.document(number).tolist() for number in range(3)] == [
        example_of(document, ALL["bpe"]).tokens for document in (DOCUMENTS[0], long, DOCUMENTS[1])
    ]


def test_documents_without_text_are_left_out_and_counted(tmp_path):
    shards = write_shards([Document("", "a"), DOCUMENTS[0], Document("", "b")], ALL["bpe"], tmp_path)
    assert (len(shards), shards.info.empty) == (1, 2)


def test_nothing_to_pack_writes_nothing(tmp_path):
    for documents in ([], [Document("", "empty")]):
        with pytest.raises(DataError, match="there is nothing to pack"):
            write_shards(documents, ALL["bpe"], tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []


def test_a_conversation_is_refused(tmp_path):
    with pytest.raises(DataError, match="chat is a conversation"):
        write_shards([Document.conversation([{"role": "user", "content": "Hi"}], "chat")], ALL["bpe"], tmp_path / "new")


def test_packing_that_breaks_off_leaves_the_earlier_shards(folder):
    def broken():
        yield DOCUMENTS[0]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        write_shards(broken(), ALL["bpe"], folder)
    assert len(Shards(folder, ALL["bpe"])) == len(DOCUMENTS)
    assert [path.name for path in folder.parent.iterdir()] == ["packed"]
    write_shards(DOCUMENTS[:2], ALL["bpe"], folder)
    assert len(Shards(folder)) == 2 and sorted(path.name for path in folder.iterdir()) == ["00000.bin", INDEX, META]


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match=r"holds something else than shards \(thesis.txt\)"):
        write_shards(DOCUMENTS, ALL["bpe"], tmp_path)


@pytest.mark.parametrize("name", ["00001.bin", INDEX])
def test_a_truncated_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2])
    with pytest.raises(DataError, match=f"{name} has {len(content) - 2:,} bytes and should have {len(content):,}"):
        Shards(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        Shards(folder)


@pytest.mark.parametrize("name", ["00001.bin", INDEX])
def test_a_flipped_token_is_noticed_though_the_shards_were_open_before(folder, name):
    Shards(folder)
    content = bytearray((folder / name).read_bytes())
    content[-6 if name == INDEX else 100] ^= 1
    (folder / name).write_bytes(content)
    os.utime(folder / name, ns=(0, 0))  # clocks of file systems are coarse
    with pytest.raises(DataError, match=f"{name} is not the file that was packed"):
        Shards(folder)
    assert len(Shards(folder, verify=False)) == len(DOCUMENTS)


def test_files_that_stay_as_they_are_are_hashed_once(folder, monkeypatch):
    hashed: list[str] = []
    monkeypatch.setattr(files, "sha256", lambda path, real=files.sha256: (hashed.append(path.name), real(path))[1])
    shutil.copytree(folder, folder.parent / "copied")
    opened = Shards(folder.parent / "copied")
    assert hashed == opened.files and len(hashed) > 2
    Shards(folder.parent / "copied")
    assert hashed == opened.files
    os.utime(folder.parent / "copied" / INDEX, ns=(0, 0))
    Shards(folder.parent / "copied")
    assert hashed == [*opened.files, INDEX]


def test_another_tokenizer_is_refused_and_a_reloaded_one_is_the_same(folder, tmp_path):
    """Pitfall 8."""
    for tokenizer in (*ALL.values(), byte_level(), byte_level(adds_bos=True), sentencepiece()):
        tokenizer.save(tmp_path / "saved")
        assert tokenizer_hash(Tokenizer.load(tmp_path / "saved")) == tokenizer_hash(tokenizer)
    ALL["bpe"].save(tmp_path / "saved")
    Shards(folder, Tokenizer.load(tmp_path / "saved"))
    for other in (byte_level(), ALL["byte"]):
        with pytest.raises(DataError, match="was packed with another tokenizer"):
            Shards(folder, other)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 9}, "says format 9"),
        ({"tokens": 1}, "contradicts itself"),
        ({"shards": []}, "contradicts itself"),
        ({"shards": [-1]}, "contradicts itself"),
        ({"dtype": "object"}, "dtype is 'object'"),
        ({"extra": 1}, "extra is not a setting"),
        ({"documents": 3}, f"{INDEX} has"),
    ],
)
def test_a_damaged_description_is_named(folder, change, sentence):
    values = json.loads((folder / META).read_text()) | change
    (folder / META).write_text(json.dumps(values))
    with pytest.raises(DataError, match=sentence):
        Shards(folder)


def test_a_damaged_index_and_a_missing_folder_are_named(folder, tmp_path):
    index = np.fromfile(folder / INDEX, "<u8")
    index[2] = 10**6
    index.tofile(folder / INDEX)
    with pytest.raises(DataError, match="documents do not follow one another"):
        Shards(folder)
    (folder / META).write_text("[]")
    with pytest.raises(DataError, match="holds no JSON object"):
        Shards(folder)
    with pytest.raises(DataError, match=f"holds no {META}"):
        Shards(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="shard_tokens is 0"):
        write_shards(DOCUMENTS, ALL["bpe"], tmp_path / "new", shard_tokens=0)


@pytest.mark.parametrize(("processes", "held"), [(1, 40), (2, 110)])
def test_documents_are_not_held_together(processes, held, tmp_path, monkeypatch):
    """A generator of many documents is packed while it runs."""
    monkeypatch.setattr(module, "_AT_ONCE", 2000)
    written: list[int] = []
    add = module._Writer.add
    monkeypatch.setattr(module._Writer, "add", lambda self, *rest: (add(self, *rest), written.append(1))[0])

    def documents():
        for number in range(300):
            assert number - len(written) < held
            yield Document(PROSE[number % len(PROSE)], str(number))

    assert len(write_shards(documents(), ALL["bpe"], tmp_path, processes=processes)) == 300
