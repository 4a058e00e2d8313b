"""Texts with a label each: reviews, messages, news, questions."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Iterator
from dataclasses import replace

from lmworks.text.document import Document
from lmworks.text.entry import Entry, lines, pair


def _messages(text: str, name: str) -> list[Document]:
    """What follows the label (ham or spam) and a tab on each line."""
    return lines("\n".join(line.partition("\t")[2] for line in text.split("\n")), name)


def _labelled(text: str, name: str) -> list[Document]:
    """Lines of a text, a tab and its label, each as a question and its answer."""
    pairs = [line.rsplit("\t", 1) for line in text.splitlines()]
    return [pair(words, label, f"{name}#{number}") for number, (words, label) in enumerate(pairs, 1)]


def _labelled_messages(text: str, name: str) -> list[Document]:
    """The label, a tab and the message on each line."""
    lines = (line.partition("\t") for line in text.split("\n") if line.strip())
    return [pair(message, label, f"{name}#{at}") for at, (label, _, message) in enumerate(lines, 1)]


def _numbered(*classes: str) -> Callable[[str, str], list[Document]]:
    """Lines of a number, a space and a text; the number is the place of the class among these."""

    def documents(text: str, name: str) -> list[Document]:
        lines = [line.partition(" ") for line in text.splitlines()]
        return [pair(words, classes[int(number)], f"{name}#{at}") for at, (number, _, words) in enumerate(lines, 1)]

    return documents


def _news(text: str, name: str) -> Iterator[tuple[str, str, str, str]]:
    """AG's articles: source, class, headline, text. The class is a number; a backslash stands for a line's end."""
    classes = ("World", "Sports", "Business", "Sci/Tech")
    for number, (place, *parts) in enumerate(csv.reader(io.StringIO(text)), 1):
        headline, article = (" ".join(html.unescape(part.replace("\\", " ")).split()) for part in parts)
        yield f"{name}#{number}", classes[int(place) - 1], headline, article


def _topics(text: str, name: str) -> list[Document]:
    """Articles with their headlines, and their class as the answer."""
    return [pair(f"{headline}. {article}", topic, source) for source, topic, headline, article in _news(text, name)]


def _headlines(text: str, name: str) -> list[Document]:
    """Articles, and their headline as the answer."""
    return [pair(article, headline, source) for source, _, headline, article in _news(text, name)]


ENTRIES = {
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
