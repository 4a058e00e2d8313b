"""Pairs and analogies of words."""

from __future__ import annotations

from lmworks.text.entry import Entry

ENTRIES = {
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
}
