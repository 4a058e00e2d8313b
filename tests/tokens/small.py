"""Small tokenizers, made in a blink."""

from __future__ import annotations

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.vocabulary import Vocabulary, add_around
from tokens.corpus import TEXTS

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level(template: str | None = CHATML, adds_bos: bool = False, eos: str = "<|im_end|>") -> Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=SPECIAL,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(TEXTS, trainer)
    bos = backend.token_to_id("<s>")
    add_around(backend, bos if adds_bos else None, None)
    return Tokenizer(Vocabulary(backend, "tiny", bos=bos, eos=backend.token_to_id(eos), chat_template=template))


def sentencepiece(template: str | None = None) -> Tokenizer:
    """Llama-2's arrangement: a space in front, bytes for what is unknown, BOS added."""
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *"▁abcdehlorstwINST[]/\n",
        "▁h",
        "he",
        "lo",
        "▁w",
        "or",
        "▁he",
        "▁wor",
    ]
    tokens = list(dict.fromkeys(tokens))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [("▁", "h"), ("h", "e"), ("l", "o"), ("▁", "w"), ("o", "r"), ("▁h", "e"), ("▁w", "or")]
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>")])
    add_around(backend, 1, None)
    return Tokenizer(Vocabulary(backend, "pieces", bos=1, eos=2, unknown=0, chat_template=template))
