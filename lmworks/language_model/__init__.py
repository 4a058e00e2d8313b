"""LanguageModel: a network and its tokenizer, with what people do with them.

model = LanguageModel.load("smollm2")
print(model.generate("Once upon a time", Sample(temperature=0.8, seed=1), max_new_tokens=40))
print(LanguageModel.load("models/translator").generate("Guten Tag.", Beam(width=5)))
vectors = LanguageModel.load("minilm").embed(["a cat", "a dog"])
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.files import directory_written_whole, write_json
from lmworks.basics.memory import must_fit
from lmworks.generation.request import Message, Prompt
from lmworks.kernels.adapters import as_kept, of_kept
from lmworks.kernels.choice import check_compress, embedder_of_kept, packed_later, runner_for, runner_of_kept
from lmworks.kernels.footprint import Footprint
from lmworks.kernels.keeping import Keeper, Kept
from lmworks.kernels.packing_apart import can_pack_apart, pack_apart, stored_in
from lmworks.kernels.runner import CompiledRunner
from lmworks.language_model.encoding import EncodingModel
from lmworks.language_model.scoring import LN_2, Score, ScoringModel
from lmworks.models.config import RopeScaling, stretched
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_vocabulary import gguf_tokenizer
from lmworks.models.files.model_folder import refuse_foreign_files, write_facts
from lmworks.models.files.references import resolve
from lmworks.models.hearing.config import hears
from lmworks.models.later_network import LaterNetwork
from lmworks.models.vision.config import reads_images
from lmworks.tokens.source import target_start
from lmworks.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:  # what writes on the compiled path waits for no PyTorch
    import numpy as np
    import torch

    from lmworks.basics.arrays import Float
    from lmworks.generation.transcript import Transcript
    from lmworks.kernels.packed import Stored
    from lmworks.models.network import Network
    from lmworks.models.unread import Later
    from lmworks.tokens.speech import Task

__all__ = ["LN_2", "LanguageModel", "Message", "Prompt", "Score"]


class LanguageModel(ScoringModel, EncodingModel):
    """A network, its tokenizer, and where they came from: loaded, run by PyTorch or compiled, and saved. What it writes
    is in writing.py, what it makes of text that is there in scoring.py, its vectors and classes in encoding.py."""

    hears: ClassVar[bool] = False
    """Reads sound in place of a source text (HearingModel)."""

    @classmethod
    def load(
        cls,
        reference: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        device: str = "cpu",
        compress: str | None = None,
        rope_scaling: RopeScaling | None = None,
    ) -> Self:
        """Load an alias, a directory, a .gguf file or hf:org/name.

        `dtype` None takes what the file holds; quantised weights become bfloat16 where the processor multiplies it
        natively, else float32. `compress` is int4, int8, bf16 or none: on a CPU, matrices in at most 4, 8 or 16 bits
        on the compiled path, or the network as it is in PyTorch; unless it or `dtype` is given, what a file holds in
        few bits, or a GGUF file in 16, runs as it is (`lmworks.kernels`). `rope_scaling` lets a network with rotary
        positions read `factor` times its context, without training for it. Raises ModelError with one sentence for
        whatever is wrong with the files.
        """
        check_compress(compress, dtype)
        path, wanted = resolve(str(reference)), None if dtype is None else _dtype_of(dtype)
        file = GGUFFile(path) if path.suffix == ".gguf" else None
        footprint = Footprint.of(path, file)
        if file is None and (reads_images(footprint.config) or hears(footprint.config) is not cls.hears):
            what = "images" if reads_images(footprint.config) else "sound" if hears(footprint.config) else "text alone"
            raise ModelError(f"{reference} reads {what}, and another model is needed here; lm.load loads it")
        few_bits = footprint.few_bits is not None
        config = footprint.config if rope_scaling is None else stretched(footprint.config, rope_scaling)

        def build() -> Network:
            packed = packed_later(compress if wanted is None else "none", few_bits, device)
            network = _read_network(path, file, wanted, device, packed)
            network.config = config
            return network if device == "cpu" else network.to(device)

        with progress.reading(f"loading {reference}", footprint.stored):
            tokenizer = Tokenizer.load(path) if file is None else gguf_tokenizer(file)
            later = LaterNetwork(config, build, lambda: footprint.parameters)
            model = cls(later, tokenizer, path, str(reference), exact=wanted is not None)
            model._weights = path if file is None else file
            nothing_said = device == "cpu" and (wanted, compress, few_bits) == (None, None, False)
            if nothing_said and (embedder := embedder_of_kept(later, model._keeper(True))):
                later.check_first(lambda: footprint.must_fit(str(reference)))
                model._chose(compress, as_read=True)
                model._embedder = embedder, embedder.weights_version
                return model
            footprint.must_fit(str(reference), compress, wanted)
            pack = partial(pack_apart, path, compress, rope_scaling) if can_pack_apart(footprint.stored) else None
            if wanted is not None:
                model.runner = model._by_pytorch()
            elif device == "cpu" and (kept := runner_of_kept(later, compress, few_bits, model._keeper(True), pack)):
                model.runner = kept
                model._chose(compress, as_read=True)
            else:
                model.choose_runner(compress, as_read=True)
        return model

    def transcribe(
        self,
        recording: str | os.PathLike[str] | Float[np.ndarray, " samples"],
        *,
        language: str | None = None,
        task: Task = "transcribe",
        seed: int = 0,
        beams: int = 1,
    ) -> Transcript:
        """What a recording says (HearingModel). ConfigError from a model that does not hear."""
        raise no_hearing(self)

    def choose_runner(self, compress: str | None = None, *, as_read: bool = False) -> None:
        """Let the compiled path run the network from here on, adapters included, or PyTorch, as `load`'s `compress`
        says. Weights that are not those of the file any more are rounded anew; `as_read` says that none is, and
        saves looking."""
        from lmworks.basics.threads import one_thread
        from lmworks.kernels.packing import Unchanged
        from lmworks.models.adapted import own_parameters
        from lmworks.models.torch_runner import TorchRunner
        from lmworks.models.unread import read_all

        stored: Stored | None = self.stored
        if stored is not None and not as_read:
            stored = Unchanged(stored, own_parameters(self.network))
        with (
            one_thread()
        ):  # more of them gain half a second where nothing else runs (SmolLM2), and lose half a minute elsewhere
            self.runner = runner_for(self.network, compress, stored, self.network.device.type, self._keeper(as_read))
            if (prompts := getattr(self.network, "prompts", None)) is not None:
                self.runner.take_images(prompts.seen)
            if isinstance(self.runner, TorchRunner):
                read_all(self.network, lambda needed: must_fit(self.reference or "the network", needed))
        self._chose(compress, as_read)

    def _chose(self, compress: str | None, as_read: bool) -> None:
        if as_read:
            self._later.when_built(self._is_as_read)
        self.embeds_compiled, self._embedder = compress is None, None

    def _is_as_read(self, network: Network) -> None:
        from lmworks.models.unread import state_of

        self._read = state_of(network)

    def put_adapter(
        self, put: Callable[[Network], object], compress: str | None, folder: Path, files: Sequence[Path]
    ) -> None:
        """Put the adapter of a folder on the network. If it was packed before, from these `files` and beside the base
        that runs now, the packed one is used, without PyTorch; else `put` puts it on, and it is packed and kept.
        Without `files` nothing is kept: such an adapter runs in PyTorch, or changes the base's weights."""
        keeper = Keeper(folder, files, base=self._keeper(True))
        check = keeper.watch()
        runner = self._runner if not self._later.is_built else None
        if isinstance(runner, CompiledRunner) and (kept := keeper.opened(self.config, runner.bits)) is not None:
            self._later.check_first(check)
            runner.put_packed(of_kept(*kept), put)
            return
        put(self.network)
        self._runner = self._embedder = runner = None  # one of packed weights is as large as the next
        self.choose_runner(compress, as_read=bool(files))
        if files and isinstance(self.runner, CompiledRunner):
            check()
            packed = Kept(*as_kept(self.runner.compiled.weights.every_rows))
            keeper.keep(self.config, self.runner.bits, packed)

    def take_adapters(self, put: Callable[[], None]) -> None:
        """Have adapters put beside the network, whose weights stay as they are."""
        from lmworks.models.unread import state_of

        as_read = state_of(self.network) == self._read
        self.runner.take_adapters(put)
        if (prompts := getattr(self.network, "prompts", None)) is not None:
            self.runner.take_images(prompts.seen)
        self._read, self._embedder = state_of(self.network) if as_read else self._read, None

    @property
    def stored(self) -> Stored | None:
        """What the model's files hold in few bits; None where they hold floats, or there are none."""
        return None if self._weights is None else stored_in(self._weights, self.config)

    @checked
    def save(self, folder: str | os.PathLike[str], facts: Mapping[str, Any] | None = None) -> Path:
        """Write a Hugging Face directory that transformers and vLLM load; `facts` go into lmworks.json.

        The directory is complete or not there; one that holds anything else than a model is refused.
        """
        from lmworks.models.files.directory import write_network

        folder = Path(folder)
        refuse_foreign_files(folder)
        with directory_written_whole(folder) as temporary:
            write_network(temporary, self.network)
            self.write_tokenizer(temporary)
            pools = not self.config.causal or bool(self.pooling.dense)
            own: dict[str, Any] = {"pooling": self.pooling.model_dump()} if pools else {}
            for name, layer in zip(self.pooling.dense, self.dense, strict=True):
                layer.write(temporary / name)
            own |= {} if self.score_scale == "none" else {"scores": self.score_scale}
            self.write_beside(temporary)
            write_facts(temporary, {"source": self.reference, **own, **(facts or {})})
        return folder

    def beside(self, network: Network) -> Self:
        """The same with another network of the same shape."""
        return type(self)(network, self.tokenizer, self.source, self.reference, self.exact)

    def write_beside(self, folder: Path) -> None:
        """What a kind of model keeps in its directory beside network and tokenizer."""

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files and generation_config.json into an existing folder."""
        self.tokenizer.save(folder)
        ends = sorted(self.tokenizer.stop_ids)
        facts = {"bos_token_id": self.tokenizer.bos, "eos_token_id": ends, "pad_token_id": self.tokenizer.pad}
        if self.translates:
            facts |= {"decoder_start_token_id": target_start(self.tokenizer), **self.generation_config.said}
        write_json(folder / "generation_config.json", facts)


def no_hearing(model: LanguageModel) -> ConfigError:
    """What to say of a model that is given a recording and does not hear."""
    return ConfigError(f"{model.reference or 'the model'} hears nothing; take one that writes down speech (whisper)")


def _read_network(path: Path, file: GGUFFile | None, dtype: torch.dtype | None, device: str, packed: Later) -> Network:
    """The network of a directory or of a GGUF file, in `dtype` or what the file holds; what will be `packed` stays
    unread."""
    import torch

    from lmworks.basics.threads import one_thread
    from lmworks.models.files.directory import read_network
    from lmworks.models.files.gguf import read_gguf_network, stored_dtype
    from lmworks.models.precision import fast_dtype

    with one_thread(), torch.inference_mode(False):  # whoever asks may be in it, and weights must tell of changes
        if file is None:
            return read_network(path, dtype, packed)
        return read_gguf_network(file, dtype or stored_dtype(file) or fast_dtype(device), packed)


def _dtype_of(name: str | torch.dtype) -> torch.dtype | None:
    from lmworks.models.precision import dtype_of

    return dtype_of(name)
