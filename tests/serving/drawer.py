"""A tiny model that draws, of random weights."""

from __future__ import annotations

from lmworks.drawing_model import DrawingModel
from lmworks.generation.image_spans import code_names
from lmworks.image_tokens import ImageTokens, preprocessing_for
from lmworks.jobs.fusion_recipe import FusionSizes
from lmworks.models.network import Network
from lmworks.models.vision.image_tokens import ImageTokenizer
from lmworks.models.vision.image_tokens_config import ImageTokensConfig
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.tokens.vocabulary import make_special


def drawer() -> DrawingModel:
    """Reads bytes, and images of 8 x 8 pixels as four codes."""
    config = ImageTokensConfig(image_size=8, levels=(4, 4, 4), width=8, fine_width=4)
    tokenizer = train_tokenizer([], TokenizerConfig(kind="byte"))
    make_special(tokenizer.vocabulary.backend, code_names(config.codes))
    tokenizer = Tokenizer(tokenizer.vocabulary)
    shape = FusionSizes(dim=32, layers=2, heads=2, context=64).network(tokenizer.vocab_size)
    model = DrawingModel(Network(shape).initialise(2, "width").eval(), tokenizer, reference="drawer")
    model.take_images(ImageTokens(ImageTokenizer(config).initialise(1), preprocessing_for(config)))
    return model
