"""Questions with known answers, and pairs of sentences of which one is right."""

from __future__ import annotations

from lmworks.text.entry import Entry, records

ENTRIES: dict[str, Entry] = {}
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
        documents=records("instruction"),
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
    documents=records("sentence_good"),
    members=r"data/\w+\.jsonl",
)
