"""What measures of bias are made from."""

from __future__ import annotations

import csv
import io
import json
import re

from lmworks.text.document import Document
from lmworks.text.entry import Entry, records

BBQ = (
    ("Age", 3_091_834, "46e805b3fc2d8cbd26eeb8e8430d98cf7b2dc9c83574ff3674e8ce4f0fca2a60"),
    ("Disability_status", 1_336_984, "375d40d9b71f056150264445ec189b13934998f3f49a1e311aa7578eb3b45e5f"),
    ("Nationality", 2_900_040, "a583e74666aec0341ded8aa3983e7cad694eb24de72c254d28b2df3035720090"),
    ("Physical_appearance", 1_347_476, "e48d7e13508565f4801574e611043470c25c95a0a62af3699cb5ee7cb02608fb"),
    ("Religion", 1_118_728, "cb9555f9f3454a52cd2df85956b59bd7fcca5aa922c8527693b1164d08417616"),
    ("Sexual_orientation", 729_010, "2c71036b9e7584fe589c42aef32c1a42bc01b9a5e9b1b8704342630cdb08cefd"),
)
"""Six of its eleven categories."""
WINOBIAS = (
    ("anti_stereotyped_type1.txt.dev", 32_782, "a4e0ebae344e78b56f657a42e8ae684b9db7747d177c5e7149c0907ebb7f3bf6"),
    ("anti_stereotyped_type1.txt.test", 34_778, "331db5bd74bfefebf146a60b67645152a4a1991570d2a56f57154103ac361dd2"),
    ("anti_stereotyped_type2.txt.dev", 30_875, "763ad829ad724f9a85ead689ba8ca69072020cb1238def6210f0fc6a47b97e59"),
    ("anti_stereotyped_type2.txt.test", 31_769, "336571ac1ea8c06cd2aba8e5dd2bd98e00acc0c48da3e4ec5ec7e54eb2633a8f"),
    ("pro_stereotyped_type1.txt.dev", 32_786, "dd55a0d220fe4c0ceb63dd4648223fb4fe1a58d5ad95c116a002ad24b0e292a5"),
    ("pro_stereotyped_type1.txt.test", 34_820, "db7838907238a758eeb5779e48f38c013b892910d6fe864456c59f04245c6689"),
    ("pro_stereotyped_type2.txt.dev", 30_884, "8f0250de723cea9328e3eaf7169e07936f01aa5909ce7aa580db66eb803f4e86"),
    ("pro_stereotyped_type2.txt.test", 31_749, "ea1c1fd94fa612e3cc44d7fa3cc4cb76021bb63fdf94f9826f430051e9052438"),
)
WEAT = (
    ("weat1", 1_892, "c12c192a4b8011590cfe7de237cb2e0dbcd0e7328e3b7baf63869ccfd61bc0ea"),
    ("weat2", 1_873, "d907a10b5a84a72f4e60bf069562565aa88b0e0c84e26adb38a75536718e25b9"),
    ("weat3", 2_122, "99e5fdbfe3749608afb803eb55d1fb291f81399862ba4cc2b21461ae82215bf7"),
    ("weat3b", 1_913, "1642a16492fb2e65ff84c858f81ee50737825b96cc0ce880f3409b4dc2e8dd5a"),
    ("weat4", 1_607, "c0d0c606d20a0ccb8759dcbddaea1b692a860e9dbeea2ccdcade3e3c25868dbb"),
    ("weat5", 1_063, "7e1ac48a1c8b549200ce5e4c9ed7fd6f0c2c766485d04e73adee05358a9b3224"),
    ("weat5b", 1_368, "95d5e31bebbe612274fcde0bb311c6fe012f26623522ac4a2b2c9a78ddbb9d2a"),
    ("weat6", 789, "21681d3f4d7fdf97cf4cd2c0f9160940cfbd797ec62c7621b5600dc9e6e5b248"),
    ("weat6b", 789, "b6c85b5228a3786827b528af3d633fbbddc4fbf05d93e6ceb6f76a4881386c1d"),
    ("weat7", 774, "c7e68ec95e30f42df3faa9e1ba933596c9e49651e0017bb90c19d0f58312f2b0"),
    ("weat7b", 774, "714c42ccf6ec71113fcb2064daa7b4dfc80b0cd4bb191c8d0196053681a9792b"),
    ("weat8", 799, "86e650b44e8fd539a9082564f5ede5dae2ed67d120938b9c92a7495f143801e9"),
    ("weat8b", 781, "db822460372ae472b8cf8fd41a44ca13e4f166bb9ee05ea13a983fe0301016ef"),
    ("weat9", 745, "e4c9ab7cd719dcc05a2bd86c390de31ae2778db3c362b360206c0491751fe9f7"),
    ("weat10", 802, "4878efc95d1bbb9c482fc90a5c2c379f9b5a990c7ea9e61f13611fff355a23bc"),
    ("sent-weat1", 33_519, "ff493f29fa0e0984b67e1502b0c04688473e189fd6d107c91054507ed73ff77a"),
    ("sent-weat2", 31_904, "58378442b8894e6987250a4ca52fc36495429c85695e9dcf952e9c4c31626609"),
    ("sent-weat3", 27_279, "1e1b9f89f518ad5bba47cbe5bd1d08d679b296b3eb640ee0b060f080c5d7ffef"),
    ("sent-weat3b", 28_848, "8db3f84b109031a8b86392fbd4544ca1b29f361d98b30b1e83a82b1ca60ee351"),
    ("sent-weat4", 20_247, "5eb5a2bc5b36d8c0567b1992aea7adb015f3e170e4d24a220c2dca763f59a418"),
    ("sent-weat5", 9_535, "2478d808135759371ee43754fa8efd89a928e434ad2981df61726b7328c5fb47"),
    ("sent-weat5b", 18_136, "c0af61519bee074d0c3218bf8e5537b10fae5d795230422cd7bff92f90cafc26"),
    ("sent-weat6", 9_880, "bcf1a6864e3da0e8982d70451721877f23e2efaf6aea33628df843d826b68ae2"),
    ("sent-weat6b", 10_863, "8d1dd09833d1854784503c2eb9986d1951d684fb3289a18da85e72fa1e59e4ff"),
    ("sent-weat7", 8_703, "86c151b640bc9ebf6f60cd94920ab1f5bff68ea1a993f322f729cf3620173e0f"),
    ("sent-weat7b", 7_737, "16b7c23eb529421b411b508b2928b0d62e52cbb80cf40f8e9acbdfb52cd75350"),
    ("sent-weat8", 8_038, "352fea8d5440800a219dd6141a6f5e414a708770bc2717bfc581bc249e108ded"),
    ("sent-weat8b", 6_809, "c410535cac813f806d20a7f76f4bea62ee44f98d8828f8f0ac6a4b7694c414bc"),
    ("sent-weat9", 2_499, "dd1b60d64dedde7ce532915a6a39cd8ec7d036e90896a6a854bfcd6315866c6c"),
    ("sent-weat10", 6_062, "04dd864639909052e2ee1f386cfc0a99b5d5311c7c3ab0411396a6f5ddf0aeae"),
)


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


ENTRIES: dict[str, Entry] = {}
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
        documents=records("context"),
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
