"""Counterfactual text: pronouns by their grammar, names, nouns, lists of one's own, and how often "her" is right."""

from __future__ import annotations

import pytest

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text import registry
from lmworks.text.counterfactual import NAMES, NOUNS, augmented, gender, swapped, swaps_named
from lmworks.text.document import Document

TEXTS = {
    "She gave her brother his coat; he thanked her.": "He gave his sister her coat; she thanked him.",
    "The coat is his, not hers.": "The coat is hers, not his.",
    "HE SAID it's hers. He's sure; she’d know.": "SHE SAID it's his. She's sure; he’d know.",
    "Tell her that her two sons saw her again": "Tell him that his two daughters saw him again",
    "I saw her quickly. Her “new” car.": "I saw him quickly. His “new” car.",
    "Mrs. Green, her husband and their aunt": "Mr. Green, his wife and their uncle",
    "James told Mary the truth himself.": "Mary told James the truth herself.",
    "When James met Dr. James, Emily Scott left.": "When Mary met Dr. James, Andrew Scott left.",
    "The theory of the hero, a manager.": "The theory of the hero, a manager.",
}


@pytest.mark.parametrize("text", TEXTS)
def test_all_words_of_a_text_are_swapped_together(text):
    assert swapped(text) == TEXTS[text]


def test_no_word_is_in_two_pairs():
    for listed in (NOUNS, NAMES):
        words = listed.replace(",", " ").split()
        assert len(words) == len(set(words))


def test_names_may_stay():
    assert swapped("John is her son.", gender(names=False)) == "John is his daughter."


def test_a_counterpart_follows_each_document_that_has_one():
    chat = Document.conversation(
        [{"role": "user", "content": "Who is she?"}, {"role": "assistant", "content": "The queen."}], "chat#1"
    )
    found = list(augmented([Document("He sleeps.", "a"), Document("It rains.", "b"), chat]))
    assert [one.text for one in found] == [
        "He sleeps.",
        "She sleeps.",
        "It rains.",
        "Who is she?\n\nThe queen.",
        "Who is he?\n\nThe king.",
    ]
    assert found[1].source == "a (counterpart)" and found[4].messages[1]["content"] == "The king."


def test_a_list_of_ones_own(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("old young  # in age\n\nLagos London\n", encoding="utf-8")
    swaps = swaps_named(str(path))
    assert swapped("He was old in Lagos.", swaps) == "He was young in London."
    path.write_text("old young\nOld people\nthree words here\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3 is no pair of words; write two words with a space between them"):
        swaps_named(str(path))
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no pair of words"):
        swaps_named(str(path))
    with pytest.raises(ConfigError, match="no list of swaps 'sex'; give none, gender, gender-without-names or a file"):
        swaps_named("sex")
    assert swaps_named("none") is None


def test_her_and_his_are_mostly_what_people_say_they_are():
    """Of Brown's "her" 91 % and of its "his" 99 % become what their parts of speech ask for."""
    if not registry.available("brown-tagged"):
        pytest.skip("brown is not here; fetch it with: lmworks evaluate smollm2 brown")
    wanted = {("her", "pp$"): "his", ("her", "ppo"): "him", ("his", "pp$"): "her", ("his", "pp$$"): "hers"}
    right: dict[str, list[bool]] = {"her": [], "his": []}
    for document in registry.documents("brown-tagged"):
        for line in document.text.splitlines():
            words = [word.rpartition("/")[::2] for word in line.split()]
            for at, (word, tag) in enumerate(words):
                other = wanted.get((word.lower(), tag.partition("-")[0]))
                if other is not None:
                    text = " ".join(one for one, _ in words[at : at + 4])
                    right[word.lower()].append(swapped(text).split()[0].lower() == other)
    assert len(right["her"]) == 3036 and sum(right["her"]) / 3036 > 0.91
    assert len(right["his"]) == 6994 and sum(right["his"]) / 6994 > 0.99
