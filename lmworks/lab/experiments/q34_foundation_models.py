"""Question 34: kinds of foundation models, each at its own task: language, vision, images with texts.

One small model of each kind learns from real texts, photos or drawings, and is asked what its kind is for. Beside each
stands what knows nothing but frequencies. And does a model of images and texts do the vision model's task as well, with
the names of the classes in the place of labels?
"""

from __future__ import annotations

from lmworks.lab.bench.encoders import pretraining, prose
from lmworks.lab.bench.gaps import BOTH_SIDES, FREQUENCIES, NATS, NEXT_TOKEN, at_gaps, by_frequency, gaps_of, pretrained
from lmworks.lab.bench.kinds_of_models import clip, found_by_chance, found_by_words, read_photos, resnet, told
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

VISION, TOWERS, CHANCE = Condition.named("ResNet", "CLIP", "the commonest or a guess")
TOLD = Metric("classes of photos told", margin=0.02, ideal=1.0)
FOUND = Metric("unseen drawings found by words", margin=0.01, ideal=1.0)
RATE, ROWS = 0.02, 64


@experiment(
    34,
    claim="Foundation models are of several types: language models (BERT, GPT-4), vision models (ResNet), generative "
    "models (DALL-E), multimodal models (CLIP).",
    parts=(
        Part(
            "a language model that reads both sides (BERT) fills gaps better than frequencies",
            *(NATS, BOTH_SIDES - FREQUENCIES),
            below=0,
        ),
        Part(
            "a language model that writes (GPT) tells what comes next better than frequencies",
            *(NATS, NEXT_TOKEN - FREQUENCIES),
            below=0,
        ),
        Part("a vision model (ResNet) tells what photos show", TOLD, VISION - CHANCE, above=0),
        Part(
            "a multimodal model (CLIP) finds drawings of things that it has not seen by words",
            *(FOUND, TOWERS - CHANCE),
            above=0,
        ),
    ),
    also=(
        Part(
            "a multimodal model does the vision model's task too, by the names of the classes alone",
            *(TOLD, TOWERS - CHANCE),
            above=0,
            otherwise="a CLIP of drawings tells nothing of photos",
        ),
        Part("the vision model, which learnt from labels, does it better", TOLD, VISION - TOWERS, above=0),
    ),
    headlines={
        "yyyy": "Each kind does its own task; whether a CLIP of emoji tells anything of photos, as a ResNet does, is "
        "open."
    },
    picture=Bars((TOLD, FOUND), of=(VISION, TOWERS, CHANCE), title="Each kind at its own task, and CLIP at another's"),
    not_true_when="one network is of several kinds at once: a GPT is generative, a CLIP holds a vision model",
    not_tested="a generative model of images (DALL-E), and models of the size that makes a foundation of them.",
    note="Each is a small network from nothing. BERT and GPT read TREC's questions; at a gap the one sees both sides, "
    "the other the left alone, so that their figures are not for each other. ResNet: three residual blocks, CIFAR-10's "
    "JPEGs. CLIP: convolutions and a transformer of one block, emoji in four styles; a concept is held out with its "
    "siblings; its classes of photos are told by 'a photo of a ...', of which it has read none.",
    minutes=45,
)
def kinds_of_models(
    run: Run,
    text: str = "trec-train",
    photos: str = "cifar10:train",
    judged: str = "cifar10:test",
    pictures: str = "emoji",
    steps: Count = scaled(100, 600),
    photo_steps: Count = scaled(60, 700),
    picture_steps: Count = scaled(40, 500),
    vocabulary: Count = 2048,
    asked: Count = scaled(200, 2000),
) -> None:
    """One figure of each kind of model beside its floor; CLIP at the vision model's task."""
    questions, shown = prose(text), read_photos(photos, judged, asked)
    gaps = gaps_of(questions, asked)
    places, images = ([f"{what} {at}" for at in range(count)] for what, count in (("gap", len(gaps)), ("photo", asked)))
    images = images[: len(shown.test)]
    for fixed in run.once():
        run.log(fixed, FREQUENCIES, {NATS: by_frequency(questions, gaps)}, items=places)
        run.log(fixed, CHANCE, {TOLD: shown.chance}, items=images)
    for seed in run.seeds:
        for name in (BOTH_SIDES, NEXT_TOKEN):
            network = pretrained(questions, name, 0.3, pretraining(steps, ROWS, RATE, seed))
            run.log(seed, name, {NATS: at_gaps(network, gaps, name == NEXT_TOKEN)}, items=places)
        run.log(seed, VISION, {TOLD: told(resnet(shown, photo_steps, ROWS, seed), shown)}, items=images)
        model, parts = clip(pictures, vocabulary, picture_steps, ROWS, seed)
        hits = found_by_words(model, parts)
        run.log(seed, TOWERS, {FOUND: list(hits.values())}, items=list(hits))
        run.log(seed, CHANCE, {FOUND: found_by_chance(parts)}, items=list(hits))
        labels = [one.label for one in model.classify(list(shown.test.images.permute(0, 2, 3, 1).numpy()), shown.names)]
        right = [float(label == shown.names[at]) for label, at in zip(labels, shown.test.classes.tolist(), strict=True)]
        run.log(seed, TOWERS, {TOLD: right}, items=images)
