"""Whisper against transformers: features, states, logits and greedy text, from random weights and from real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hearing
import numpy as np
import pytest
import tiny
import torch

import lmworks as lm
from lmworks.basics.errors import LmworksError, ModelError
from lmworks.generation.speech import write_down
from lmworks.generation.strategies import Beam, Greedy, Strategy
from lmworks.hearing_model import HearingModel
from lmworks.models.families.whisper import WHISPER
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.hearing.features import log_mel
from lmworks.models.hearing.network import SoundNetwork
from lmworks.tokens.speech import SUPPRESS, SpeechTokens, unspoken

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 20,
    "max_source_positions": 25,
    "max_target_positions": 40,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def theirs(**more: Any) -> Any:
    network = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**(SMALL | more)))
    tiny.randomise(network)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    "more",
    [{}, {"activation_function": "relu", "num_mel_bins": 33}, {"encoder_layers": 1, "max_source_positions": 11}],
    ids=["plain", "other front", "other sizes"],
)
def test_states_and_logits_are_equal_and_files_go_both_ways(more: dict[str, Any], tmp_path: Path):
    network = theirs(**more)
    network.save_pretrained(tmp_path / "theirs")
    ours = read_network(tmp_path / "theirs")
    assert isinstance(ours, SoundNetwork)
    features = torch.randn(2, ours.config.mels, ours.config.frames, generator=torch.Generator().manual_seed(1))
    tokens = tiny.text(2, 17)
    memory = ours.encode(features)
    torch.testing.assert_close(memory.states, network.model.encoder(features).last_hidden_state, **CLOSE)
    expected = network(input_features=features, decoder_input_ids=tokens).logits
    torch.testing.assert_close(ours(tokens, memory=memory), expected, **CLOSE)
    (tmp_path / "ours").mkdir()
    write_network(tmp_path / "ours", ours)
    again = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path / "ours").eval()
    torch.testing.assert_close(again.state_dict(), network.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(again(input_features=features, decoder_input_ids=tokens).logits, expected, **CLOSE)


@torch.no_grad()
def test_a_bias_of_keys_changes_nothing_so_that_files_may_leave_it_out():
    network = hearing.model().network
    features, tokens = torch.randn(1, 80, 100), tiny.text(1, 9)
    before = network(tokens, memory=network.encode(features))
    for block in (*network.blocks, *network.encoder.blocks):
        block.attention.qkv.bias[32:64].add_(3.0)
    for block in network.blocks:
        block.cross_attention.kv.bias[:32].sub_(2.0)
    torch.testing.assert_close(network(tokens, memory=network.encode(features)), before, **CLOSE)


def test_other_features_than_the_networks_are_refused(tmp_path: Path):
    network = hearing.model().network
    for features in (torch.zeros(1, 80, 99), torch.zeros(1, 79, 100), torch.zeros(80, 100)):
        with pytest.raises(LmworksError, match=r"reads sound as features \[batch, 80, 100\]"):
            network.encode(features)
    with pytest.raises(ModelError, match="a whisper model reads sound, and this network does not"):
        WHISPER.config_to(tiny.network().config)
    with pytest.raises(ModelError, match="encoder_ffn_dim"):
        theirs(encoder_ffn_dim=32).save_pretrained(tmp_path)
        read_network(tmp_path)


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("seconds", [1.0, 3.7])
def test_features_are_equal(mels: int, seconds: float):
    """Theirs in NumPy, with float64; their PyTorch differs from it by its float32."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=mels)
    samples = hearing.noise(seconds)
    samples[: len(samples) // 3] = 0.0
    expected = extractor._np_extract_fbank_features(samples[None], "cpu")[0]
    np.testing.assert_allclose(log_mel(samples, mels), expected, rtol=1e-5, atol=1e-5)
    filled = np.pad(samples, (0, 480_000 - len(samples)))
    by_torch = extractor(samples, sampling_rate=16_000)["input_features"][0]
    np.testing.assert_allclose(log_mel(filled, mels), by_torch, rtol=1e-4, atol=1e-3)


def as_theirs(folder: Path) -> Any:
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def greedy(
    model: HearingModel, samples: np.ndarray, prompt: list[int], timed: bool, strategy: Strategy = Greedy()
) -> list[int]:
    memory = model.hear(samples)
    written = write_down(model.runner, model.tokenizer, memory, model.speech, prompt, strategy, timed)
    return list(written.tokens)


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("timed", [True, False])
def test_text_is_that_of_transformers(timed: bool, beams: int, tmp_path: Path):
    """Suppressed tokens, pairs of times that never go back, the prompt: token for token."""
    for seed in range(4):
        model = hearing.model(seed)
        model.save(tmp_path / str(seed))
        speech = SpeechTokens.of(model.tokenizer, model.config.vocab_size, {})
        network = as_theirs(tmp_path / str(seed))
        said = network.generation_config
        said.no_timestamps_token_id, said.is_multilingual = speech.no_times, False
        said.max_initial_timestamp_index = speech.latest_first
        said.suppress_tokens, said.begin_suppress_tokens = sorted(speech.never), sorted(speech.never_first)
        samples = hearing.noise(1.0, seed=seed)
        features = torch.from_numpy(log_mel(samples))[None]
        expected = network.generate(
            features,
            generation_config=said,
            return_timestamps=timed,
            max_new_tokens=model.config.context // 2,
            num_beams=beams,
            force_unique_generate_call=True,
        )[0].tolist()
        strategy = Greedy() if beams == 1 else Beam(width=beams)
        ours = greedy(model, samples, speech.prompt(None, "transcribe"), timed, strategy)
        begun = [speech.start] if timed else [speech.start, speech.no_times]
        kept = [token for token in expected[len(begun) :] if token != speech.end]
        assert expected[: len(begun)] == begun and ours == kept and (len(ours) > 8 or beams > 1)
        assert any(token >= speech.times.start for token in ours) or not timed


@pytest.fixture(scope="module")
def real(whisper: str) -> HearingModel:
    model = lm.load(whisper, compress="none")
    assert isinstance(model, HearingModel)
    return model


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """Three seconds with the sounds of a vowel in them, for lack of a voice."""
    at = np.arange(48_000) / 16_000
    tones = sum(np.sin(2 * np.pi * 120 * number * at) / (1 + abs(number - 6)) for number in range(1, 30))
    return (0.1 * tones * np.sin(2 * np.pi * 1.5 * at) ** 2).astype(np.float32)


@torch.no_grad()
def test_the_real_weights_give_the_states_logits_and_text_of_transformers(
    real: HearingModel, spoken: np.ndarray, tmp_path: Path
):
    real.save(tmp_path / "saved")
    network = as_theirs(tmp_path / "saved")
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(tmp_path / "saved")
    features = torch.from_numpy(extractor(spoken, sampling_rate=16_000)["input_features"])
    memory, states = real.hear(spoken), network.model.encoder(features).last_hidden_state
    torch.testing.assert_close(memory.states, states, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(real.network.encode(features).states, states, rtol=1e-4, atol=1e-4)
    tokens = torch.tensor([[50257, 50363, 314, 716, 994, 13]])
    expected = network(input_features=features, decoder_input_ids=tokens).logits
    ours = real.network(tokens, memory=real.network.encode(features))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    said = network.generation_config
    said.suppress_tokens, said.begin_suppress_tokens = sorted(real.speech.never), sorted(real.speech.never_first)
    for timed in (True, False):
        begun = [50257] if timed else [50257, 50362]
        text = network.generate(features, return_timestamps=timed, max_new_tokens=224, force_unique_generate_call=True)[
            0
        ].tolist()
        kept = [token for token in text[len(begun) :] if token != 50256]
        assert greedy(real, spoken, [50257], timed) == kept


def test_what_nobody_says_is_the_published_list(real: HearingModel):
    """CTranslate2's config, which the package carries, has it; ours is told by the tokenizer."""
    published = [1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 357, 366, 438]
    published += [532, 685, 705, 796, 930, 1058, 1220, 1267, 1279, 1303, 1343, 1377, 1391, 1635, 1782, 1875, 2162]
    published += [2361, 2488, 3467, 4008, 4211, 4600, 4808, 5299, 5855, 6329, 7203, 9609, 9959, 10563, 10786, 11420]
    published += [11709, 11907, 13163, 13697, 13700, 14808, 15306, 16410, 16791, 17992, 19203, 19510, 20724, 22305]
    published += [22935, 27007, 30109, 30420, 33409, 34949, 40283, 40493, 40549, 47282, 49146]
    published += [50257, 50357, 50358, 50359, 50360, 50361]
    assert sorted(unspoken(real.tokenizer)) == published and SUPPRESS not in real.said("generation_config.json")
    assert sorted(real.speech.never_first) == [220, 50256]
