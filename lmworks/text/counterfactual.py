"""Counterfactual text: the same text with the words of one gender put for those of the other.

    swapped("She gave her brother his coat; he thanked her.")
    # He gave his sister her coat; she thanked him.
    augmented(documents)          # each document that has such words, and its counterpart after it

All words of a text are swapped together, so that names, pronouns and nouns still belong to one another. "Her" is "his"
before what it belongs to, else "him"; "his" that stands alone is "hers". A name is swapped where it can be a first one:
what follows another capitalised word may be a surname. What is true of one person (he was president) is not true of the
counterpart: such text balances associations, and teaches no facts.
Sources: Lu et al. 2018, https://arxiv.org/abs/1807.11714; for names Hall Maudslay et al. 2019,
https://arxiv.org/abs/1909.00871.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document, rewritten
from lmworks.text.plain import read_text

NOUNS = """
man woman, men women, boy girl, boys girls, male female, males females, gentleman lady, gentlemen ladies,
father mother, fathers mothers, dad mom, dads moms, daddy mommy, papa mama, son daughter, sons daughters,
brother sister, brothers sisters, husband wife, husbands wives, uncle aunt, uncles aunts, nephew niece,
nephews nieces, grandfather grandmother, grandfathers grandmothers, grandpa grandma, grandson granddaughter,
grandsons granddaughters, stepfather stepmother, stepson stepdaughter, groom bride, grooms brides, widower widow,
widowers widows, boyfriend girlfriend, boyfriends girlfriends, fatherhood motherhood, brotherhood sisterhood,
boyhood girlhood, manhood womanhood, fatherly motherly, manly womanly, masculine feminine, king queen, kings queens,
prince princess, princes princesses, duke duchess, emperor empress, actor actress, actors actresses, waiter waitress,
waiters waitresses, steward stewardess, stewards stewardesses, heir heiress, monk nun, monks nuns, sir madam,
businessman businesswoman, businessmen businesswomen, chairman chairwoman, chairmen chairwomen,
congressman congresswoman, congressmen congresswomen,
policeman policewoman, policemen policewomen, salesman saleswoman, salesmen saleswomen,
spokesman spokeswoman, spokesmen spokeswomen, fireman firewoman, firemen firewomen, mailman mailwoman, airman airwoman,
cameraman camerawoman, craftsman craftswoman, sportsman sportswoman, serviceman servicewoman, nobleman noblewoman,
he she, himself herself, he's she's, he'd she'd, he'll she'll, mr ms
"""
NAMES = """
James Mary, Robert Patricia, John Jennifer, Michael Linda, David Elizabeth, William Barbara, Richard Susan,
Joseph Jessica, Thomas Sarah, Charles Karen, Christopher Lisa, Daniel Nancy, Matthew Betty, Anthony Sandra,
Mark Margaret, Donald Ashley, Steven Kimberly, Andrew Emily, Paul Donna, Joshua Michelle, Kenneth Carol,
Kevin Amanda, Brian Melissa, George Deborah, Timothy Stephanie, Ronald Rebecca, Jason Laura, Edward Sharon,
Jeffrey Cynthia, Ryan Dorothy, Jacob Amy, Gary Kathleen, Nicholas Angela, Eric Shirley, Jonathan Emma, Stephen Brenda,
Larry Pamela, Justin Nicole, Scott Anna, Brandon Samantha, Benjamin Katherine, Samuel Christine, Gregory Debra,
Alexander Rachel, Patrick Carolyn, Frank Janet, Raymond Maria, Jack Catherine, Dennis Heather, Jerry Diane,
Henry Alice, Peter Julie, Adam Victoria, Nathan Lauren, Walter Martha, Harold Ruth, Arthur Helen, Albert Frances,
Steve Ann, Greg Kate, Jeff Joan, Bill Sally, Tom Jane, Mike Kathy, Bob Sue, Jim Peggy
"""
"""By how often Americans bore them in the last century (Social Security Administration), a rank beside its like."""
_ALONE = """
a an the this that these those some any all both each every no another one
i you he she it we they me him us them my your our their who whom whose which what
and or but nor so yet if as than because since while when whenever where until till though although unless whether
in on at by for from of off to into onto upon over under with without within about above across after against along
among around before behind below beneath beside between beyond down during except inside like near out outside
through throughout toward towards up via away again too also very really just even still ever never now then
there here how why not is are was were be been am do does did has have had can could may might must shall should
would come get take make do be know feel see let say tell think look alone instead everything something
nothing anything everyone everybody anyone more most much well better enough only once later today tomorrow
yesterday tonight soon often always forever together apart aside forward so
"""
ALONE = frozenset(_ALONE.split())
"""Words before which "her" is no owner's: him, not his."""
_STANDING = "and or but is was were are had has than to in on at as that for from with by too"
STANDING = frozenset(_STANDING.split())
"""Words before which "his" is what is owned: hers."""
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
_BEFORE = re.compile(r"([A-Z][\w’'-]*\.?)[ \t]+$")
_AFTER = re.compile(r"""[ \t]*\n?[ \t]*["“‘`'$(]*[ \t]?(\w[\w’'-]*)""")
_MARK = " (counterpart)"
"""What a counterpart's source ends with."""
SPECIAL = ("him", "his", "her", "hers", "mrs", "miss", "ma'am")


@dataclass(frozen=True)
class Swaps:
    """What is put for what."""

    words: Mapping[str, str]
    """In small letters."""
    names: Mapping[str, str]
    """With their capital letters."""
    pronouns: bool = True
    """Whether him, his, her and hers are swapped by their grammar."""

    def other(self, text: str, word: re.Match[str]) -> str | None:
        """What is put for a word of a text; None where it stays."""
        plain = word.group().replace("’", "'")
        if plain in self.names:
            return self.names[plain] if _can_be_first(text, word.start()) else None
        small = plain.lower()
        found = self.words.get(small)
        if found is None and self.pronouns and small in SPECIAL:
            found = _pronoun(text, word, small)
        if found is None:
            return None
        if "’" in word.group():
            found = found.replace("'", "’")
        return _as_written(found, plain)


def gender(names: bool = True) -> Swaps:
    """Pronouns, nouns and, unless they are left out, first names."""
    return Swaps(_both_ways(NOUNS), _both_ways(NAMES) if names else {})


def swaps_named(name: str) -> Swaps | None:
    """What a setting names: none, gender, gender-without-names, or a file of pairs. DataError for a file that is none,
    ConfigError for another name."""
    if name in NAMED:
        return NAMED[name]()
    if not Path(name).is_file():
        raise ConfigError(f"there is no list of swaps {name!r}; give {', '.join(NAMED)} or a file of pairs of words")
    return swaps_of(name)


def swaps_of(path: str | Path) -> Swaps:
    """A list of one's own: a pair of words a line, with white space between; those with capital letters are names, and
    pronouns are swapped too where `he she` is among them. DataError for any other line."""
    pairs = [line.split("#")[0].split() for line in read_text(Path(path)).splitlines()]
    for number, one in enumerate(pairs, 1):
        if one and (len(one) != 2 or not all(map(_WORD.fullmatch, one))):
            raise DataError(f"{path}: line {number} is no pair of words; write two words with a space between them")
    text = ", ".join(" ".join(one) for one in pairs if one)
    if not text:
        raise DataError(f"{path} holds no pair of words; write two a line, with a space between them")
    every = _both_ways(text)
    names = {one: other for one, other in every.items() if one[0].isupper()}
    words = {one: other for one, other in every.items() if one not in names}
    return Swaps(words, names, words.get("he") == "she")


NAMED: dict[str, Callable[[], Swaps | None]] = {
    "none": lambda: None,
    "gender": gender,
    "gender-without-names": lambda: gender(names=False),
}


def swapped(text: str, swaps: Swaps | None = None) -> str:
    """The counterpart of a text; the same where it has none of the words."""
    chosen = gender() if swaps is None else swaps
    return _WORD.sub(lambda word: chosen.other(text, word) or word.group(), text)


def augmented(documents: Iterable[Document], swaps: Swaps | None = None) -> Iterator[Document]:
    """Each document and, where it has one, its counterpart after it."""
    chosen = gender() if swaps is None else swaps
    for one in documents:
        yield one
        other = counterpart(one, chosen)
        if other is not None:
            yield other


def is_counterpart(document: Document) -> bool:
    """Whether a document of a corpus, which names its source beside the text, was made by `counterpart`."""
    return any(one.endswith(_MARK) for one in document.metadata.get("source", ()))


def counterpart(document: Document, swaps: Swaps) -> Document | None:
    """A document with all its words swapped; None where it has none of them."""
    source, change = f"{document.source}{_MARK}", partial(swapped, swaps=swaps)
    if document.messages is not None:
        turns = [rewritten(turn, change) for turn in document.messages]
        if document.rejected is None:
            found = Document.conversation(turns, source, tools=document.tools)
        else:
            other = rewritten(document.rejected[-1], change)
            found = Document.preference(turns, [*turns[:-1], other], source, tools=document.tools)
    else:
        found = Document(swapped(document.text, swaps), source)
    return None if found.text == document.text else found


def _pronoun(text: str, word: re.Match[str], small: str) -> str:
    if small in {"him", "mrs", "miss", "ma'am"}:
        return {"him": "her", "mrs": "mr", "miss": "mr", "ma'am": "sir"}[small]
    after = _AFTER.match(text, word.end())
    following = "" if after is None else after.group(1).lower()
    if small == "her":
        return "him" if not following or following in ALONE or following.endswith("ly") else "his"
    return "his" if small == "hers" else "hers" if not following or following in STANDING else "her"


def _can_be_first(text: str, start: int) -> bool:
    """Whether no other name or title stands right before."""
    before = _BEFORE.search(text, max(0, start - 40), start)
    return before is None or before.group(1).lower() in ALONE


def _as_written(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word


def _both_ways(pairs: str) -> dict[str, str]:
    listed = [one.split() for one in pairs.replace("\n", " ").split(",") if one.strip()]
    return {one: other for pair in listed for one, other in (pair, pair[::-1])}
