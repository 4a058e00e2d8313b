"""The data registry: public texts by name, each with its address, checksum and licence.

The folders of `LMWORKS_DATA` are looked in first, then the cache, then the address. Whatever the place, the
SHA-256 of the content is checked before a byte of it is used.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import html
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.basics.files import cache_folder
from lmworks.text.bias_sets import BBQ, WEAT, WINOBIAS
from lmworks.text.document import Document
from lmworks.text.plain import newlines


def _whole(text: str, name: str) -> list[Document]:
    return [Document(text, name)]


def _lines(text: str, name: str) -> list[Document]:
    """One text per line."""
    return [Document(line, f"{name}#{number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _messages(text: str, name: str) -> list[Document]:
    """What follows the label (ham or spam) and a tab on each line."""
    return _lines("\n".join(line.partition("\t")[2] for line in text.split("\n")), name)


def _articles(text: str, name: str) -> list[Document]:
    """WikiText's articles: each begins at a heading ` = Title = ` between blank lines."""
    lines = text.splitlines(keepends=True)
    starts = [
        at
        for at in range(1, len(lines) - 1)
        if _is_title(lines[at]) and not lines[at - 1].strip() and not lines[at + 1].strip()
    ]
    titles = [lines[at].strip().strip("=").strip() for at in starts]
    starts = [0, *starts[1:], len(lines)]  # what stands before the first heading belongs to it
    return [
        Document("".join(lines[start:end]), f"{name}#{title}")
        for title, start, end in zip(titles, starts, starts[1:], strict=False)
    ]


def _is_title(line: str) -> bool:
    return line.startswith(" = ") and line.rstrip().endswith(" =") and not line.startswith(" = = ")


def _untagged(text: str, name: str) -> list[Document]:
    """Brown's words carry their part of speech: The/at Fulton/np-tl. It is taken away, and lines stay."""
    lines = (" ".join(word.rpartition("/")[0] for word in line.split()) for line in text.split("\n"))
    return [Document("\n".join(lines), name)]


def _labelled(text: str, name: str) -> list[Document]:
    """Lines of a text, a tab and its label, each as a question and its answer."""
    pairs = [line.rsplit("\t", 1) for line in text.splitlines()]
    return [_pair(words, label, f"{name}#{number}") for number, (words, label) in enumerate(pairs, 1)]


def _labelled_messages(text: str, name: str) -> list[Document]:
    """The label, a tab and the message on each line."""
    lines = (line.partition("\t") for line in text.split("\n") if line.strip())
    return [_pair(message, label, f"{name}#{at}") for at, (label, _, message) in enumerate(lines, 1)]


def _numbered(*classes: str) -> Callable[[str, str], list[Document]]:
    """Lines of a number, a space and a text; the number is the place of the class among these."""

    def documents(text: str, name: str) -> list[Document]:
        lines = [line.partition(" ") for line in text.splitlines()]
        return [_pair(words, classes[int(number)], f"{name}#{at}") for at, (number, _, words) in enumerate(lines, 1)]

    return documents


def _news(text: str, name: str) -> Iterator[tuple[str, str, str, str]]:
    """AG's articles: source, class, headline, text. The class is a number; a backslash stands for a line's end."""
    classes = ("World", "Sports", "Business", "Sci/Tech")
    for number, (place, *parts) in enumerate(csv.reader(io.StringIO(text)), 1):
        headline, article = (" ".join(html.unescape(part.replace("\\", " ")).split()) for part in parts)
        yield f"{name}#{number}", classes[int(place) - 1], headline, article


def _topics(text: str, name: str) -> list[Document]:
    """Articles with their headlines, and their class as the answer."""
    return [_pair(f"{headline}. {article}", topic, source) for source, topic, headline, article in _news(text, name)]


def _headlines(text: str, name: str) -> list[Document]:
    """Articles, and their headline as the answer."""
    return [_pair(article, headline, source) for source, _, headline, article in _news(text, name)]


def _pair(question: str, answer: str, source: str) -> Document:
    turns = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Document.conversation(turns, source)


def _relations(text: str, name: str) -> list[Document]:
    """The sentences of SemEval's training set, without their marks; whoever wants the relations reads `content`."""
    lines = re.findall(r'^\d+\t"(.*<e1>.*)"\s*$', text, re.MULTILINE)
    return [Document(re.sub(r"</?e[12]>", "", line), f"{name}#{at}") for at, line in enumerate(lines, 1)]


def _paragraphs(text: str, name: str) -> list[Document]:
    """The paragraphs that SQuAD's questions are about; whoever wants the questions reads `content`."""
    paragraphs = [
        (article["title"], one["context"]) for article in json.loads(text)["data"] for one in article["paragraphs"]
    ]
    return [Document(context, f"{name}#{title}") for title, context in paragraphs]


def _records(key: str) -> Callable[[str, str], list[Document]]:
    """One field of each record of a JSON list or JSON lines; whoever wants the others reads `content`."""

    def documents(text: str, name: str) -> list[Document]:
        records = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
        return [Document(one[key], f"{name}#{number}") for number, one in enumerate(records, 1)]

    return documents


def _first_sentences(text: str, name: str) -> list[Document]:
    """The first sentence of each of CrowS-Pairs' pairs."""
    return [Document(one["sent_more"], f"{name}#{at}") for at, one in enumerate(csv.DictReader(io.StringIO(text)), 1)]


def _unmarked(text: str, name: str) -> list[Document]:
    """WinoBias' sentences, without their numbers and the brackets around what belongs together."""
    lines = [re.sub(r"^\d+ |[\[\]]", "", line).strip() for line in text.splitlines() if line.strip()]
    return [Document(line, f"{name}#{at}") for at, line in enumerate(lines, 1)]


def _examples(text: str, name: str) -> list[Document]:
    """The words or sentences of a WEAT test, a document each of its four sets."""
    return [Document("\n".join(one["examples"]), f"{name}#{one['category']}") for one in json.loads(text).values()]


def _called(text: str, name: str) -> list[Document]:
    """BFCL's questions; of its answers, the calls as they are written there."""
    records = [json.loads(line) for line in text.splitlines()]
    said = [
        one["question"][0][-1]["content"] if "question" in one else json.dumps(one["ground_truth"]) for one in records
    ]
    return [Document(one, f"{name}#{number}") for number, one in enumerate(said, 1)]


@dataclass(frozen=True)
class Entry:
    """One text of the registry."""

    folder: str
    """Its folder inside those of `LMWORKS_DATA`."""
    repository: str
    commit: str
    path: str
    sha256: str
    """Of the content, not of a compressed file."""
    bytes: int
    licence: str
    what: str
    documents: Callable[[str, str], list[Document]] = _whole
    """(text, name) -> documents."""
    members: str | None = None
    """Of an archive (zip): a pattern that the whole names of its texts match, in whose order they are read."""
    local: str | None = None
    """Its name inside those folders, where it is not the published one."""
    pair_of: tuple[str, str] | None = None
    """Names of two texts whose lines belong together: the second's are answers to (translations of) the first's."""
    published: str | None = None
    """Its address, where that is no file of a repository on GitHub."""

    @property
    def file(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    @property
    def address(self) -> str:
        """Where it is published."""
        return self.published or f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


ENTRIES = {
    "wikitext2": Entry(
        folder="wikitext2",
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="word_language_model/data/wikitext-2/valid.txt",
        sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        bytes=1_121_681,
        licence="CC BY-SA 3.0 / GFDL (Wikipedia)",
        what="WikiText-2, validation: 60 articles of Wikipedia",
        documents=_articles,
    ),
    "tinyshakespeare": Entry(
        folder="tinyshakespeare",
        repository="karpathy/char-rnn",
        commit="6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
        path="data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        bytes=1_115_394,
        licence="public domain",
        what="40,000 lines of Shakespeare",
    ),
    "tinystories-sample": Entry(
        folder="tinystories_sample",
        repository="Niklas6/Mini_GPT",
        commit="0e9893779c9e2048205ea1339eb588983d72adc1",
        path="tinystories.txt",
        sha256="727e8b228375be3075114c20729c93ed6e81ae5d8fe7faf7cb54b304f0322d70",
        bytes=197_290,
        licence="CDLA-Sharing-1.0 (TinyStories, Eldan & Li)",
        what="38,000 words of stories for children",
    ),
    "brown": Entry(
        folder="books_and_speeches",
        repository="nltk/nltk_data",
        commit="5db857e6f7df11eabb5e5665836db9ec8df07e28",
        path="packages/corpora/brown.zip",
        sha256="9b275f9b3b95d7bd66ccfb7cd259f445a13bbe5d1f4107aba09fd3e8364bafa6",
        bytes=3_314_357,
        licence="free for research (Brown Corpus, 1979)",
        what="the Brown Corpus: 500 American texts of 1961, a million words",
        documents=_untagged,
        members=r"brown/c[a-r]\d\d",
    ),
    "brown-tagged": Entry(
        folder="books_and_speeches",
        repository="nltk/nltk_data",
        commit="5db857e6f7df11eabb5e5665836db9ec8df07e28",
        path="packages/corpora/brown.zip",
        sha256="9b275f9b3b95d7bd66ccfb7cd259f445a13bbe5d1f4107aba09fd3e8364bafa6",
        bytes=3_314_357,
        licence="free for research (Brown Corpus, 1979)",
        what="the Brown Corpus with its parts of speech, given by hand: The/at Fulton/np-tl",
        members=r"brown/c[a-r]\d\d",
    ),
    "state-of-the-union": Entry(
        folder="books_and_speeches",
        repository="nltk/nltk_data",
        commit="5db857e6f7df11eabb5e5665836db9ec8df07e28",
        path="packages/corpora/state_union.zip",
        sha256="366c1dc82b2abf896f42b2ec50ba802a0141a29f75d29ca48a7a243ce5bfbe8d",
        bytes=808_757,
        licence="public domain",
        what="65 addresses of American presidents, 1945 to 2006",
        members=r"state_union/.*\.txt",
    ),
    "sst2-train": Entry(
        folder="sst2",
        repository="clairett/pytorch-sentiment-classification",
        commit="457ffd83de90a9d6d472d8ffc31bbffe40a8b236",
        path="data/SST2/train.tsv",
        sha256="ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
        bytes=720_259,
        licence="none stated (Socher et al. 2013; research)",
        what="SST-2, train: 6,920 sentences of film reviews, 1 for praise and 0 for blame",
        documents=_labelled,
    ),
    "sst2-dev": Entry(
        folder="sst2",
        repository="clairett/pytorch-sentiment-classification",
        commit="457ffd83de90a9d6d472d8ffc31bbffe40a8b236",
        path="data/SST2/dev.tsv",
        sha256="eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
        bytes=92_057,
        licence="none stated (Socher et al. 2013; research)",
        what="SST-2, dev: 872 sentences of film reviews, 1 for praise and 0 for blame",
        documents=_labelled,
    ),
    "sst2-test": Entry(
        folder="sst2",
        repository="clairett/pytorch-sentiment-classification",
        commit="457ffd83de90a9d6d472d8ffc31bbffe40a8b236",
        path="data/SST2/test.tsv",
        sha256="831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7",
        bytes=188_749,
        licence="none stated (Socher et al. 2013; research)",
        what="SST-2, test: 1,821 sentences of film reviews, 1 for praise and 0 for blame",
        documents=_labelled,
    ),
    "men": Entry(
        folder="wordsim",
        repository="mfaruqui/eval-word-vectors",
        commit="94b3dd9fdbac7ed08dbee7179cd5ee464acf0594",
        path="data/word-sim/EN-MEN-TR-3k.txt",
        sha256="888b13580faa362c7b11da0a670258cf1b1eb4bf0ecbcd418918729a3bd3f43a",
        bytes=53_593,
        licence="MIT (repository; Bruni et al. 2014)",
        what="MEN: 3,000 pairs of words and how related people find them",
    ),
    "wordsim353": Entry(
        folder="wordsim",
        repository="mfaruqui/eval-word-vectors",
        commit="94b3dd9fdbac7ed08dbee7179cd5ee464acf0594",
        path="data/word-sim/EN-WS-353-ALL.txt",
        sha256="ce12919b240af45bdf46d243601eaca2b6212b159b5e7e9b435ee7ee40c5619c",
        bytes=7_405,
        licence="MIT (repository; Finkelstein et al. 2002)",
        what="WordSim-353: 353 pairs of words and how related people find them",
    ),
    "google-analogies": Entry(
        folder="google_analogies",
        repository="tmikolov/word2vec",
        commit="20c129af10659f7c50e86e3be406df663beff438",
        path="questions-words.txt",
        sha256="8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
        bytes=603_955,
        licence="Apache-2.0",
        what="19,544 analogies of words, a to b as c to d (Mikolov et al. 2013)",
    ),
    "sms-spam": Entry(
        folder="sms_spam",
        repository="krishnaik06/Huggingfacetransformer",
        commit="8e97d009508252d1a31ac1fdbd2722f310d99d92",
        path="SMSSpamCollection",
        sha256="55341228082b25b832a5868a5ab4b038142a57f70c676c123280af6ff457fe46",
        bytes=483_481,
        licence="CC BY 4.0 (UCI SMS Spam Collection)",
        what="5,574 text messages, without their labels",
        documents=_messages,
    ),
    "ag-news": Entry(
        folder="ag_news_test",
        repository="mhjabreel/CharCnn_Keras",
        commit="555590db4219b1243abb1918effd6a7425a2d75f",
        path="data/ag_news_csv/test.csv",
        sha256="521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699",
        bytes=1_857_427,
        licence="AG's corpus: for research, not for commerce",
        what="7,600 news of 2004 with headline, each with one of four topics (the test set of Zhang et al. 2015)",
        documents=_topics,
    ),
}
ENTRIES["semeval2010-task8"] = Entry(
    folder="semeval2010_task8",
    repository="davidsbatista/Annotated-Semantic-Relationships-Datasets",
    commit="ad883cbbaf4e342326b444347cf7d035012a4f4e",
    path="datasets/SemEval2010_task8_all_data.tar.gz",
    sha256="645e690991132824003de517013e94156f31e2d296d9e54230681855d46f3e2b",
    bytes=4147200,
    licence="CC BY 3.0 (SemEval-2010 task 8, Hendrickx et al. 2010)",
    what="10,717 sentences, each with the relation between two of its nominals: an archive",
    documents=_relations,
)
ENTRIES["world-countries"] = Entry(
    folder="world_countries",
    repository="mledoze/countries",
    commit="9e2111888e030214beede791b4767fd29b7d5e93",
    path="dist/countries.json",
    sha256="9b7f563c19178ae803d6db723fd3b16f88e3a2598d04c3e5270cc1cb8fdf401d",
    bytes=772_044,
    licence="ODbL 1.0",
    what="250 countries with capital, currencies, languages, borders (npm's world-countries 5.1.0): a JSON file",
)
ENTRIES["subjectivity"] = Entry(
    folder="trec_mr_subj",
    repository="harvardnlp/sent-conv-torch",
    commit="d61ded09c99c0199d8c5bca946cd65864de2b296",
    path="data/subj.all",
    sha256="f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c",
    bytes=1_320_246,
    licence="none stated (Pang and Lee 2004; research)",
    what="10,000 sentences on films, opinions of reviews and facts of plots",
    documents=_numbered("subjective", "objective"),
)
ENTRIES["sms-spam-labelled"] = replace(
    ENTRIES["sms-spam"], documents=_labelled_messages, what="5,574 text messages, each ham or spam"
)
ENTRIES["ag-news-headlines"] = replace(
    ENTRIES["ag-news"], documents=_headlines, what="7,600 news of 2004, each with its headline"
)
ENTRIES |= {
    f"trec-{side}": Entry(
        folder="trec_mr_subj",
        repository="harvardnlp/sent-conv-torch",
        commit="d61ded09c99c0199d8c5bca946cd65864de2b296",
        path=f"data/TREC.{side}.all",
        sha256=sha256,
        bytes=size,
        licence="none stated (Li and Roth 2002; research)",
        what=f"TREC, {side}: {number} questions, each with one of six kinds of answer",
        documents=_numbered("description", "entity", "abbreviation", "human", "location", "number"),
    )
    for side, number, size, sha256 in (
        ("train", "5,452", 292_402, "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e"),
        ("test", "500", 19_479, "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566"),
    )
}

ENTRIES["squad2-half"] = Entry(
    folder="squad2",
    repository="chrischute/squad",
    commit="85623adeb9e6639f145081fea9cae2d8f3a26379",
    path="data/dev-v2.0.json",
    sha256="e67e5969b6dc6c1642154740806b79263b77fc048c7c11ee60d534eb48ef81e8",
    bytes=2_185_577,
    licence="CC BY-SA 4.0 (SQuAD 2.0, Rajpurkar et al. 2018)",
    what="half of SQuAD 2.0's development set: 6,078 questions on 16 articles, 3,168 of them without an answer",
    documents=_paragraphs,
)
ENTRIES["squad-du-test"] = Entry(
    folder="squad_du",
    repository="tomhosking/squad-du-split",
    commit="beac7f3ddcdd579010c7352646938e8ab31e8add",
    path="test-v1.1.json",
    sha256="e7853905d95f255090f58a2af5221c7f2b296934f8a6c1d77b36df4686f0d828",
    bytes=3_771_656,
    licence="CC BY-SA 4.0 (SQuAD 1.1, Rajpurkar et al. 2016)",
    what="44 articles of SQuAD 1.1's training set (Du et al. 2017 test on them): 11,877 questions",
    documents=_paragraphs,
)
ENTRIES["xquad-en"] = Entry(
    folder="xquad",
    repository="google-deepmind/xquad",
    commit="7d30520c717524000f0d9d2f9c10a069acd9d285",
    path="xquad.en.json",
    sha256="e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29",
    bytes=609_383,
    licence="CC BY-SA 4.0 (XQuAD, Artetxe et al. 2020)",
    what="XQuAD in English: 1,190 questions on 240 paragraphs of 48 articles",
    documents=_paragraphs,
)

ENTRIES |= {
    name: Entry(
        folder="multiple_choice",
        repository="AGI-Edgerunners/LLM-Adapters",
        commit="816657208af4db747803f87ba40a4c71383fed7a",
        path=f"dataset/{file}/test.json",
        sha256=sha256,
        bytes=size,
        licence=f"{licence}; the file Apache-2.0 (repository), CC BY-NC 4.0 (its data)",
        what=f"{what}, as instructions with their answers",
        documents=_records("instruction"),
        local=f"{file}.test.json",
    )
    for name, file, size, sha256, licence, what in (
        (
            "arc-easy",
            "ARC-Easy",
            1_157_216,
            "3f32a84716ca6d57d38728bf80cc8117aecd17445c2cf29a68b571b810eb82dc",
            "CC BY-SA 4.0 (Clark et al. 2018)",
            "ARC, easy, test: 2,376 questions of school science",
        ),
        (
            "arc-challenge",
            "ARC-Challenge",
            622_510,
            "4a89ce368ae01a71d268d9851686738b2a0a1d84271116bab49a1dd2b48ecad7",
            "CC BY-SA 4.0 (Clark et al. 2018)",
            "ARC, challenge, test: 1,172 questions of school science that retrieval does not answer",
        ),
        (
            "openbookqa",
            "openbookqa",
            202_545,
            "8479930f7b8a26052c78250280b5465a4016ca7fc806af440d0f37e243f3099e",
            "Apache-2.0 (Mihaylov et al. 2018)",
            "OpenBookQA, test: 500 questions of school science",
        ),
        (
            "piqa",
            "piqa",
            913_157,
            "3860d11b9b42e590b6b4bbc1643214d373ed0b0d4ac62fcc7bdceb8e044ad141",
            "AFL-3.0 (Bisk et al. 2020)",
            "PIQA, validation: 1,838 goals, each with two ways to reach it",
        ),
        (
            "winogrande",
            "winogrande",
            497_409,
            "6946f5209e7114c65c6d04f8f644c5a061af20d730b1cfe158fff3dc44076fb9",
            "CC BY (Sakaguchi et al. 2019)",
            "WinoGrande, validation: 1,267 sentences with a blank for one of two names",
        ),
        (
            "multiarith",
            "MultiArith",
            275_458,
            "a40f426807c8a563802c2a5b66bda3bcd1eba9c099038fd1199f0dd57de5fd28",
            "none stated (Roy and Roth 2015)",
            "MultiArith: 600 problems of arithmetic in words",
        ),
    )
}
ENTRIES["blimp"] = Entry(
    folder="blimp",
    repository="alexwarstadt/blimp",
    commit="3e56b06fcabca9b30822fc66435fca6b1aa40bb1",
    path="BLiMP.zip",
    sha256="172a1a714d72e72a89e8384dd531483f3d0f8a9aee3d33dccaf7992d8cecbb73",
    bytes=2_354_164,
    licence="CC BY 4.0 (Warstadt et al. 2020)",
    what="BLiMP: 67 phenomena of English grammar, each with 1,000 sentences, right and nearly so",
    documents=_records("sentence_good"),
    members=r"data/\w+\.jsonl",
)
ENTRIES["crows-pairs"] = Entry(
    folder="crows_pairs",
    repository="nyu-mll/crows-pairs",
    commit="8aaac11c485473159ec9328a65253a5be9a479dc",
    path="data/crows_pairs_anonymized.csv",
    sha256="dfb36986ce0502abbaf7055b9176da3d08d48e07df1251991b5dfbcbceab9d0c",
    bytes=437_764,
    licence="CC BY-SA 4.0 (Nangia et al. 2020)",
    what="CrowS-Pairs: 1,508 pairs of sentences, one more stereotyping than the other",
    documents=_first_sentences,
)
ENTRIES |= {
    f"bbq-{name.lower().replace('_', '-')}": Entry(
        folder="bbq",
        repository="nyu-mll/BBQ",
        commit="bea11bd97d79217245b5871acd247b9d6eb24598",
        path=f"data/{name}.jsonl",
        sha256=sha256,
        bytes=size,
        licence="CC BY 4.0 (Parrish et al. 2022)",
        what=f"BBQ, {name.lower().replace('_', ' ')}: questions on two people, with and without enough told to answer",
        documents=_records("context"),
    )
    for name, size, sha256 in BBQ
}
ENTRIES |= {
    f"winobias-{name.replace('_stereotyped_', '-').replace('.txt.', '-')}": Entry(
        folder="winobias",
        repository="uclanlp/corefBias",
        commit="0bce984dd081bbc10b0622f326727a024c607895",
        path=f"WinoBias/wino/data/{name}",
        sha256=sha256,
        bytes=size,
        licence="MIT (Zhao et al. 2018)",
        what=f"WinoBias: 396 sentences on two occupations and a pronoun ({name})",
        documents=_unmarked,
    )
    for name, size, sha256 in WINOBIAS
}
ENTRIES |= {
    name.replace("sent-weat", "seat-").replace("weat", "weat-"): Entry(
        folder="seat_weat",
        repository="McGill-NLP/bias-bench",
        commit="291426aab926f78ecfc7bd040b531429ee8123e0",
        path=f"data/seat/{name}.jsonl",
        sha256=sha256,
        bytes=size,
        licence="none stated (Caliskan et al. 2017, May et al. 2019)",
        what=f"two sets of targets and two of attributes ({name})",
        documents=_examples,
    )
    for name, size, sha256 in WEAT
}

ENTRIES |= {
    f"bfcl-{name}": Entry(
        folder="bfcl",
        repository="ShishirPatil/gorilla",
        commit="6ea57973c7a6097fd7c5915698c54c17c5b1b6c8",
        path=f"berkeley-function-call-leaderboard/bfcl_eval/data/{file}",
        sha256=sha256,
        bytes=size,
        licence="Apache-2.0 (Patil et al. 2025)",
        what=f"BFCL v4: {what}",
        documents=_called,
        local=local,
    )
    for name, file, local, size, sha256, what in (
        (
            "simple",
            "BFCL_v4_simple_python.json",
            None,
            283_274,
            "82dd63ba502eb2520c6b5d1d9a5c4b590e03ff261565175561f6228a367d1991",
            "400 questions, each with the one function that answers it",
        ),
        (
            "simple-answers",
            "possible_answer/BFCL_v4_simple_python.json",
            "answers_simple_python.json",
            63_627,
            "90cd5bc653690ee8e459b5b3f3fc9458606f7f3fcbf795bb51b7dc581f8c86dc",
            "the calls that are right for bfcl-simple",
        ),
        (
            "multiple",
            "BFCL_v4_multiple.json",
            None,
            316_583,
            "aef168155ebd74b7ac2401198b201343bc7d16d7a3d7e0d4e6d8ee82c6969b2a",
            "200 questions, each with two to four functions, one of which answers it",
        ),
        (
            "multiple-answers",
            "possible_answer/BFCL_v4_multiple.json",
            "answers_multiple.json",
            32_254,
            "244e00ce9395df948bcafc7bee64e8f9c87ef70887587d83cae45b13699f3047",
            "the calls that are right for bfcl-multiple",
        ),
        (
            "parallel",
            "BFCL_v4_parallel.json",
            None,
            171_896,
            "19f51a82eff42e5d62541aa500115a056eb78f437c2ba1f10415fd7c8e5dda84",
            "200 questions that one function answers when it is called several times",
        ),
        (
            "parallel-answers",
            "possible_answer/BFCL_v4_parallel.json",
            "answers_parallel.json",
            66_005,
            "8a6aa19c1adddc6a5a2f7e40f9dbf30cc7e95815e7b830c90589ab318229e0f0",
            "the calls that are right for bfcl-parallel",
        ),
        (
            "irrelevance",
            "BFCL_v4_irrelevance.json",
            None,
            159_940,
            "2b6ed4c2e992cdcf5f1678a701851f944bef7550ee026ed1ddb89efed5be01a6",
            "240 questions that the function beside them does not answer",
        ),
    )
}

# Multi30k (Elliott et al. 2016): the part of its name, of its file, and what it has.
_PARTS = (
    ("", "train", "29,000 descriptions of photographs"),
    ("-validation", "val", "1,014 descriptions of photographs"),
    ("-test2016", "test_2016_flickr", "1,000 descriptions of photographs"),
)
_SIDES = (
    ("", "en", 1_801_238, "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
    ("", "de", 2_110_398, "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
    ("", "fr", 2_111_303, "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d"),
    ("-validation", "en", 63_297, "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
    ("-validation", "de", 75_981, "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
    ("-validation", "fr", 73_924, "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc"),
    ("-test2016", "en", 62_076, "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
    ("-test2016", "de", 70_649, "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
    ("-test2016", "fr", 72_261, "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6"),
)
ENTRIES |= {
    f"multi30k{part}-{language}": Entry(
        folder="multi30k",
        repository="multi30k/dataset",
        commit="a3d2e0d26b56f3846f66a952536ffed4e401d05a",
        path=f"data/task1/raw/{file}.{language}.gz",
        sha256=sha256,
        bytes=size,
        licence="none stated (Flickr30k captions: for research; translations by the authors of Multi30k)",
        what=f"{what}, the same in en, de and fr: {language}",
        documents=_lines,
    )
    for part, file, what in _PARTS
    for of, language, size, sha256 in _SIDES
    if of == part
}
ENTRIES |= {
    f"multi30k{part}-{source}-{target}": replace(
        ENTRIES[f"multi30k{part}-{source}"],
        pair_of=(f"multi30k{part}-{source}", f"multi30k{part}-{target}"),
        what=f"{what} in {source}, each with its translation into {target}",
    )
    for part, _, what in _PARTS
    for source, target in (("en", "de"), ("de", "en"), ("en", "fr"), ("fr", "en"))
}


def documents(name: str) -> list[Document]:
    """The documents of a registered text, fetched if it is not here; DataError where it cannot be."""
    entry = ENTRIES[name]
    if entry.pair_of is not None:
        return _answered(name, *map(documents, entry.pair_of))
    read = content(name)
    # A few quotation marks of the speeches, and a dash of TREC's, are in no encoding that the rest of them has.
    if entry.members is None:
        return entry.documents(newlines(read.decode("utf-8", "replace")), name)
    with zipfile.ZipFile(io.BytesIO(read)) as archive:
        members = sorted(member for member in archive.namelist() if re.fullmatch(entry.members, member))
        return [
            document
            for member in members
            for document in entry.documents(
                newlines(archive.read(member).decode("utf-8", "replace")), f"{name}#{Path(member).stem}"
            )
        ]


def content(name: str) -> bytes:
    """The file of a registered text as it is published, fetched if it is not here; DataError where it cannot be."""
    return content_of(name, ENTRIES[name])


def content_of(name: str, entry: Entry, fetch: bool = True) -> bytes:
    """The file of an entry, of this registry or another; as `content`. Without `fetch`, DataError where it is not on
    this machine."""
    found = _read_local(name, entry)
    if found is None and not fetch:
        raise DataError(f"{name} is not here; put {entry.file} into a folder {entry.folder} of LMWORKS_DATA")
    return _content(_download(name, entry), entry) if found is None else found


def _answered(name: str, questions: list[Document], answers: list[Document]) -> list[Document]:
    pairs = enumerate(zip(questions, answers, strict=True), 1)  # files with a checksum have as many lines as they had
    return [_pair(one.text, other.text, f"{name}#{number}") for number, (one, other) in pairs]


def available(name: str) -> bool:
    """Whether the text is here, whole and unchanged, without fetching anything."""
    entry = ENTRIES[name]
    try:
        return all(map(available, entry.pair_of)) if entry.pair_of else _read_local(name, entry) is not None
    except DataError:
        return False


def _read_local(name: str, entry: Entry) -> bytes | None:
    path = next((path for path in _places(name, entry) if path.is_file()), None)
    return None if path is None else _content(path, entry)


def _places(name: str, entry: Entry) -> Iterator[Path]:
    for folder in os.environ.get("LMWORKS_DATA", "").split(os.pathsep):
        if folder:
            yield Path(folder, entry.folder, entry.local or entry.file)
            yield Path(folder, entry.folder, f"{entry.local or entry.file}.gz")
    yield cache_folder("data", name) / entry.file


def _content(path: Path, entry: Entry) -> bytes:
    """The content of a file, unpacked where its name ends in .gz; DataError unless it has the checksum."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(entry.bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it, and it is fetched again") from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise DataError(
            f"{path} is not the file of the registry (SHA-256 is not {entry.sha256[:12]}...); "
            "remove it, and it is fetched again"
        )
    return content


def _download(name: str, entry: Entry) -> Path:
    import pooch

    folder = cache_folder("data", name)
    pooch.get_logger().setLevel("WARNING")
    try:
        with progress.task(f"fetching {name}", entry.bytes, "bytes") as advance:
            # The checksum is of the content; that of a packed file is checked when it is unpacked.
            known = None if entry.file.endswith(".gz") else f"sha256:{entry.sha256}"
            path = pooch.retrieve(entry.address, known, entry.file, folder, downloader=pooch.HTTPDownloader(timeout=15))
            advance(entry.bytes)
    except (OSError, ValueError) as error:  # requests' errors; a wrong checksum
        looked = ", ".join(str(path.parent) for path in dict.fromkeys(_places(name, entry)))
        raise DataError(
            f"{name} is not here (looked in {looked}) and {entry.address} could not be fetched "
            f"({type(error).__name__}); connect to the network once, or put {entry.file} into "
            f"{folder}"
        ) from error
    return Path(path)
