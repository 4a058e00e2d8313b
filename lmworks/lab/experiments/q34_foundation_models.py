"""Question 34: kinds of foundation models, each at its own task: language, vision, generative, multimodal.

One small model of each kind learns from real texts, photos or drawings, and is asked what its kind is for. Beside each
stand a floor that knows nothing of the task and a ceiling, loaded weights where they can be had; one figure is the same
for all, the share of the way from floor to ceiling. And does a model of images and texts do the vision model's task as
well, with the names of the classes in the place of labels?
"""

from __future__ import annotations

from lmworks.lab.bench import kinds_of_models as kinds
from lmworks.lab.bench.drawn_from_words import back, drawn, fitting, judge_of, of_another, one_of_each_family
from lmworks.lab.bench.encoders import pretraining, prose
from lmworks.lab.bench.floor_to_ceiling import CEILING, FLOOR, HERE, WAY, between
from lmworks.lab.bench.gaps import BOTH_SIDES, NEXT_TOKEN, pretrained
from lmworks.lab.bench.hidden_words import hidden_words, told, told_by, told_by_frequency
from lmworks.lab.bench.loaded_weights import classes_by, found_by, reads_at
from lmworks.lab.bench.words_and_images import WordsAndImages, learnt
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled
from lmworks.loading import load

BERT, GPT, RESNET, DRAWER, CLIP = Condition.named("BERT", "GPT", "ResNet", "tokens and decoder", "CLIP")
GAPS = Metric("BERT: words in gaps told", margin=0.02, ideal=1.0)
NEXT = Metric("GPT: next words told", margin=0.02, ideal=1.0)
TOLD = Metric("ResNet: classes of photos told", margin=0.02, ideal=1.0)
DRAWN = Metric("tokens and decoder: captions that fit a drawing worse", margin=0.02, ideal=1.0)
FOUND = Metric("CLIP: unseen drawings found by words", margin=0.01, ideal=1.0)
RATE, ROWS = 0.02, 64
KNOWS = Requirement("the judge knows real drawings", DRAWN, CEILING - FLOOR, above=0.1)


@experiment(
    34,
    claim="Foundation models are of several types: language models (BERT, GPT-4), vision models (ResNet), generative "
    "models (DALL-E), multimodal models (CLIP).",
    parts=(
        Part("a language model that reads both sides (BERT) fills gaps", GAPS, HERE - FLOOR, above=0),
        Part("a language model that writes (GPT) tells what comes next", NEXT, HERE - FLOOR, above=0),
        Part("a vision model (ResNet) tells what photos show", TOLD, HERE - FLOOR, above=0),
        Part(
            "a generative model (image tokens and a decoder, as in DALL-E) draws what new captions say",
            *(DRAWN, HERE - FLOOR),
            above=0,
            otherwise="its drawings fit other captions as well",
            needs=(KNOWS,),
        ),
        Part("a multimodal model (CLIP) finds drawings of unseen things by words", FOUND, HERE - FLOOR, above=0),
    ),
    also=(
        Part("BERT goes half of the way from frequencies to SmolLM2", WAY, BERT, above=0.5),
        Part("GPT goes half of the way from frequencies to SmolLM2", WAY, GPT, above=0.5),
        Part("ResNet goes half of the way from the commonest class to EfficientNet", WAY, RESNET, above=0.5),
        Part("the decoder goes half of the way to real drawings", WAY, DRAWER, above=0.5, needs=(KNOWS,)),
        Part("CLIP goes half of the way from a guess to EfficientNet and MiniLM", WAY, CLIP, above=0.5),
        Part(
            "a multimodal model does the vision model's task too, by the names of the classes alone",
            *(TOLD, CLIP - FLOOR),
            above=0,
            otherwise="a CLIP of drawings tells nothing of photos",
        ),
        Part("the vision model, which learnt from labels, does it better", TOLD, HERE - CLIP, above=0),
    ),
    headlines={
        "yyyyy": "Each kind does its own task, and goes 28 % (CLIP) to 97 % (GPT) of the way from its floor to its "
        "ceiling; whether a CLIP of emoji tells anything of photos, as a ResNet does, is open."
    },
    picture=Bars((GAPS, NEXT, TOLD, DRAWN, FOUND), of=(FLOOR, HERE, CEILING, CLIP), title="Each kind at its own task"),
    not_true_when="one network is of several kinds at once: a GPT is generative, a CLIP holds a vision model. A "
    "ceiling is no bound: SmolLM2 has not learnt from such questions, as GPT has here",
    not_tested="models of the size that makes a foundation of them; BERT's, DALL-E's and CLIP's own weights.",
    note="Each is a small network from nothing. BERT and GPT read TREC's questions and tell a word from 15 others, "
    "drawn as often as read; floor: the one that is read most; ceiling: SmolLM2 (135 M, loaded) by both sides, or "
    "the left. ResNet: CIFAR-10's JPEGs; floor: the commonest class; ceiling: EfficientNet-Lite0 (loaded, 96 pixels) "
    "and a ridge regression on 5,000 labels. Image tokens and a decoder draw new captions of emoji, 16 x 16 pixels, "
    "guidance 3; a CLIP of a style that was kept from them, OpenMoji, says how many captions of other families fit "
    "worse; floor: those of another drawing; ceiling: real ones, back from their tokens. CLIP: emoji in four styles, a "
    "concept held out with its siblings; floor: a guess; ceiling: EfficientNet, MiniLM (both loaded) and a ridge "
    "regression between them. Photos it tells by 'a photo of a ...', of which it has read none.",
    first_seed=200,
    minutes=45,
)
def kinds_of_models(
    run: Run,
    text: str = "trec-train",
    photos: tuple[str, str] = ("cifar10:train", "cifar10:test"),
    pictures: tuple[str, str] = ("emoji", "emoji:openmoji"),
    vocabularies: tuple[Count, Count] = (1024, 2048),
    weights: tuple[str, str, str] = ("smollm2", "efficientnet", "minilm"),
    asked: Count = scaled(100, 1000),
    steps: Count = scaled(60, 400),
    photo_steps: Count = scaled(60, 250),
    picture_steps: Count = scaled(25, 250),
) -> None:
    """Each kind of model at its task, beside its floor and its ceiling; CLIP at the vision model's task. The style of
    the judge's `pictures`, which come second, is kept from what draws."""
    questions, shown, emoji = prose(text), kinds.read_photos(*photos, asked), kinds.pictures_of(pictures[0])
    both = WordsAndImages.read(pictures[0], vocabularies[0], picture_steps, pictures[1].partition(":")[2] or None)
    judge = judge_of(pictures[1], weights[2], picture_steps)
    hidden, new = hidden_words(questions, asked // 4), one_of_each_family(both)
    words, images = ([f"{what} {at}" for at in range(n)] for what, n in (("word", len(hidden)), ("photo", asked)))
    images, families, unseen = images[: len(shown.test)], [one.family for one in new], kinds.unseen_names(emoji)

    for fixed in run.once():
        large, seeing, sentences = load(weights[0]), reads_at(weights[1], 96), load(weights[2])
        for metric in (GAPS, NEXT):
            run.log(fixed, FLOOR, {metric: told_by_frequency(questions, hidden)}, words)
            run.log(fixed, CEILING, {metric: told_by(large, hidden, questions.tokenizer, metric is GAPS)}, words)
        run.log(fixed, FLOOR, {TOLD: shown.chance}, images)
        run.log(fixed, CEILING, {TOLD: classes_by(seeing, shown, 5 * asked)}, images)
        run.log(fixed, CEILING, {DRAWN: fitting(judge, back(both, new), new)}, families)
        run.log(fixed, FLOOR, {FOUND: kinds.found_by_chance(emoji)}, unseen)
        run.log(fixed, CEILING, {FOUND: found_by(seeing, sentences, emoji, 5 * asked)}, unseen)
    for seed in run.seeds:
        for kind, metric, name in ((BERT, GAPS, BOTH_SIDES), (GPT, NEXT, NEXT_TOKEN)):
            network = pretrained(questions, name, 0.3, pretraining(steps, ROWS, RATE, seed))
            between(run, seed, kind, metric, told(network, hidden, kind is GPT), words)
        between(
            run, seed, RESNET, TOLD, kinds.classes_told(kinds.resnet(shown, photo_steps, ROWS, seed), shown), images
        )
        decoder = learnt(both.network(seed, 96), both.pairs(), 2 * picture_steps, RATE, seed)
        drawings = drawn(both, decoder, new, seed)
        run.log(seed, FLOOR, {DRAWN: fitting(judge, drawings[of_another(new)], new)}, families)
        between(run, seed, DRAWER, DRAWN, fitting(judge, drawings, new), families)
        towers = kinds.clip(pictures[0], vocabularies[1], picture_steps, ROWS, seed)
        between(run, seed, CLIP, FOUND, kinds.found_by_words(towers, emoji), unseen)
        run.log(seed, CLIP, {TOLD: kinds.named_by(towers, shown)}, images)
