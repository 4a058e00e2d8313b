"""A yes or no in a document answers the question right above it there, which may not be the one that is asked.

    text = "## Does it work offline?\\n\\nNo. The office needs a connection."
    start, end = answered_by(text, text.index("No"))
    text[start:end]                                         # "Does it work offline?"

"Does the office need a connection?" has another answer than this "No.", which alone would say the opposite of what the
document does. So the document's own question is shown with it.
"""

from __future__ import annotations

import re

from lmworks.grounding.evidence import Span
from lmworks.text.sentences import sentence_spans

LOOKED_AT = 1000
"""Characters before a yes or no in which its question is looked for."""
_MARKS = ' \t\r\n\u00a0>*_•|+-=#"“”„«»'
"""What may stand between a question and its answer, besides a label."""
_ANSWER = r"(?:A|R|Answer|Antwort|Réponse|Respuesta|Risposta|Resposta|Antwoord|Svar|Ответ)\s?\d{0,3}\s?[.:)]"
"""What may begin a line that answers."""
_LABEL = re.compile(rf"(?<![^\W_]){_ANSWER}\Z", re.IGNORECASE)
# Words that mean more than yes or no before others ("No dogs", "no se puede", "Non-smokers") count where nothing that
# belongs to them follows; a number does to "No. 5".
_YES_OR_NO = re.compile(
    rf"[{re.escape(_MARKS)}]{{0,20}}(?:{_ANSWER}[*_]{{0,3}}\s{{1,20}}[*_]{{0,3}})?(?:"
    r"(?:yes|yeah|yep|nope|ja|jawohl|nein|jein|doch|sí|oui|sim|да)\b(?!-\w)"
    r"|(?:no|non|nee|nej|nei|jo|si|sì|não|нет|never|sometimes|usually|maybe|perhaps|absolutely|definitely|certainly|"
    r"sure|of course(?: not)?|unfortunately(?: not)?|not yet|not really|not always|not at all|not any ?more|it depends|"
    r"natürlich(?: nicht)?|selbstverständlich(?: nicht)?|klar|leider(?: nein| nicht| ja)?|noch nicht|nicht immer|nie|"
    r"manchmal|vielleicht|claro(?: que sí| que no)?|por supuesto(?: que no)?|todavía no|aún no|nunca|a veces|tal vez|"
    r"depende)(?=[*_\"”“»]{0,3}(?:\s*\Z|[ \t]*\n|[,;:!…]|\.(?!\s*\d)|\s?[–—]|\s-\s))"
    r"|no\s+(?:it|you|we|they|i|he|she|there)\b)",
    re.IGNORECASE,
)
_ASKS = ("?", "？", "؟")
_NO_SENTENCE = re.compile(r"^[ \t]{0,3}(?:#{1,6}[ \t].*|-{3,}|={3,})[ \t]*\n", re.MULTILINE)
"""Lines from which no sentence goes on: a heading, and what stands under one or around a front matter."""
_BEGINS = re.compile(r"[\s>*_•|+\"“„«-]*(?:\d{1,3}[.)]\s+)?[*_\"“„«]*")


def says_yes_or_no(text: str) -> bool:
    """Whether a text begins with a yes or no: in English, German or Spanish, or such a word of some other languages."""
    return _YES_OR_NO.match(text) is not None


def answered_by(text: str, start: int, heading: str = "") -> Span | None:
    """What the yes or no that begins at this place of a document answers, without marks around it: the `heading` right
    above it, or the question; None where neither stands there."""
    first = max(0, start - LOOKED_AT)
    above = text[first:start].rstrip(_MARKS)
    if label := _LABEL.search(above):
        before = above[: label.start()].rstrip(_MARKS)
        above = before if before.endswith(_ASKS) else above
    end, heading = first + len(above), heading.strip(_MARKS)
    if heading and above.rpartition("\n")[2].strip(_MARKS) == heading:
        return end - len(heading), end
    if not above.endswith(_ASKS):
        return None
    begin = sentence_spans(above)[-1][0]
    begin = max([begin, *(one.end() for one in _NO_SENTENCE.finditer(above, begin))])
    if marks := _BEGINS.match(above, begin):
        begin = marks.end()
    return first + begin, end
