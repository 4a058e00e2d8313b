"""Figures: whether a question asks how much or when, and whether a sentence says so.

    fits = kind_asked_for("Wie hoch ist die Kaution?", "german")
    fits("Sie beträgt drei Grundmieten.")           # True

For a reader that knows no language: of two sentences on what is asked, the one with a figure answers such a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple


class _Words(NamedTuple):
    """Of one language; a * stands for any letters."""

    how_much: str
    """What asks for a number, as a pattern."""
    when: str
    """What asks for a time, as a pattern."""
    numbers: str
    times: str


_OF = {
    "english": _Words(
        r"how (?:many|much|long|old|far|often|tall|big|large|high|deep|fast|wide|heavy|few)|what (?:do|does) .* cost|"
        r"(?:what|which) (?:percentage|number|temperature|price|age|amount)",
        r"when|how (?:early|late|soon)|(?:what|which) (?:year|date|time|day|month)",
        "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand "
        "million* half third quarter once twice daily weekly monthly yearly annually",
        "monday* tuesday* wednesday* thursday* friday* saturday* sunday* january february march april may june july "
        "august september october november december day* week* month* year* hour* minute* century centuries "
        "immediately noon midnight morning evening before after during spring summer autumn winter",
    ),
    "german": _Words(
        r"wie ?viele?|wie (?:hoch|lang|alt|weit|oft|groß|gross|tief|schnell|breit|schwer|teuer|warm|laut|dick)|"
        r"was kosten?|was kostet|welche[mnrs]? (?:temperatur|alter|höhe|stufe|\w*nummer|\w*stärke|\w*druck|betrag)",
        r"wann|wie (?:lange|früh|spät)|welche[mnrs]? (?:\w*tag|\w*monat|\w*jahr|\w*zeit|datum|\w*frist|uhrzeit)",
        "zwei* drei* vier* fünf* sechs* sieben* acht neun* zehn* elf zwölf* zwanzig dreißig vierzig fünfzig hundert* "
        "tausend* million* halb* hälfte viertel* einmal zweimal dreimal täglich* wöchentlich* monatlich* jährlich* "
        "stündlich*",
        "*montag* *dienstag* *mittwoch* *donnerstag* *freitag* *samstag* *sonntag* januar februar märz april juni "
        "juli august september oktober november dezember *tag *tage *tagen *tages *woche *wochen *monat* *jahr "
        "*jahre *jahren *jahres *jahresende *monatsende uhr stunde* minute* sofort unverzüglich frühling* sommer* "
        "herbst* winter* ostern weihnachten neujahr jahrhundert*",
    ),
    "french": _Words(
        r"combien|quell?e?s? (?:âge|prix|température|durée|fréquence|numéro|montant)",
        r"quand|quell?e?s? (?:heure|date|année|jour|mois)",
        "deux trois quatre cinq six sept huit neuf dix onze douze vingt trente quarante cinquante cent mille "
        "million* demi* moitié tiers quart* fois quotidien* hebdomadaire* mensuel* annuel*",
        "lundi* mardi* mercredi* jeudi* vendredi* samedi* dimanche* janvier février mars avril mai juin juillet août "
        "septembre octobre novembre décembre jour* semaine* mois an ans année* heure* minute* siècle* immédiatement "
        "printemps été automne hiver noël",
    ),
    "spanish": _Words(
        r"cuánt[oa]s?|qué (?:edad|precio|temperatura|número|cantidad)",
        r"cuándo|qué (?:hora|fecha|año|día|mes)",
        "dos tres cuatro cinco seis siete ocho nueve diez once doce veinte treinta cuarenta cincuenta cien* mil "
        "millón millones medi* mitad tercio cuarto vez veces diari* semanal* mensual* anual*",
        "lunes martes miércoles jueves viernes sábado* domingo* enero febrero marzo abril mayo junio julio agosto "
        "septiembre octubre noviembre diciembre día* semana* mes meses año* hora* minuto* siglo* inmediatamente "
        "primavera verano otoño invierno",
    ),
    "italian": _Words(
        r"quant[oaie]|(?:che|quale|quali) (?:età|prezzo|temperatura|numero|importo)",
        r"quando|(?:che|quale|quali) (?:ora|ore|data|anno|giorno|mese)",
        "due tre quattro cinque sei sette otto nove dieci undici dodici venti trenta quaranta cinquanta cento *mila "
        "mille milion* mezz* metà terzo quarto volta volte giornalier* settimanal* mensil* annual*",
        "lunedì martedì mercoledì giovedì venerdì sabato domenica gennaio febbraio marzo aprile maggio giugno luglio "
        "agosto settembre ottobre novembre dicembre giorn* settiman* mese mesi anno anni ora ore minut* secol* "
        "immediatamente primavera estate autunno inverno",
    ),
    "portuguese": _Words(
        r"quant[oa]s?|(?:que|qual) (?:idade|preço|temperatura|número|valor)",
        r"quando|(?:que|qual) (?:horas?|data|ano|dia|mês)",
        "dois duas três quatro cinco seis sete oito nove dez onze doze vinte trinta quarenta cinquenta cem cento mil "
        "milhão milhões meio meia metade terço quarto vez vezes diári* semana* mensa* anua*",
        "segunda terça quarta quinta sexta sábado* domingo* janeiro fevereiro março abril maio junho julho agosto "
        "setembro outubro novembro dezembro dia dias semana* mês meses ano anos hora* minuto* século* imediatamente "
        "primavera verão outono inverno",
    ),
    "dutch": _Words(
        r"hoe ?(?:veel|lang|oud|ver|vaak|groot|hoog|diep|snel|zwaar|duur|warm)|wat kost(?:en)?|"
        r"welke? (?:leeftijd|prijs|temperatuur|\w*nummer|bedrag)",
        r"wanneer|hoe (?:laat|vroeg)|welke? (?:jaar|dag|maand|datum|tijd)",
        "twee drie vier vijf zes zeven acht negen tien elf twaalf twintig dertig veertig vijftig honderd duizend "
        "miljoen half halve helft derde kwart keer dagelijks* wekelijks* maandelijks* jaarlijks*",
        "*maandag* *dinsdag* *woensdag* *donderdag* *vrijdag* *zaterdag* *zondag* januari februari maart april mei "
        "juni juli augustus september oktober november december dag dagen week weken maand maanden jaar jaren uur "
        "minuten eeuw* onmiddellijk lente zomer herfst winter",
    ),
    "swedish": _Words(
        r"hur (?:många|mycket|lång|långt|länge|gammal|ofta|stor|hög|djup|snabbt|tung|dyr|varm)|vad kostar|"
        r"vilke[nt] (?:ålder|temperatur|\w*nummer|pris)",
        r"när|hur (?:tidigt|sent)|vilke[nt] (?:år|dag|månad|datum|tid)",
        "två tre fyra fem sex sju åtta nio tio elva tolv tjugo trettio fyrtio femtio hundra tusen miljon* halv* "
        "hälften tredjedel fjärdedel gång gånger dagligen varje",
        "*måndag* *tisdag* *onsdag* *torsdag* *fredag* *lördag* *söndag* januari februari mars april maj juni juli "
        "augusti september oktober november december dag* vecka veckor månad* år året timm* minut* klockan sekel "
        "omedelbart vår sommar* höst* vinter*",
    ),
    "russian": _Words(
        r"сколько|как (?:долго|часто|далеко)|как(?:ой|ая|ое|ие|ом|ую) (?:возраст|цена|температура|номер)",
        r"когда|как(?:ой|ая|ое|ие|ом|ую) (?:год|году|день|месяц|месяце|дата)",
        "дв* трёх три трех четыр* пят* шест* семь семи восем* девят* десят* одиннадцат* двенадцат* двадцат* тридцат* "
        "сорок* сто тысяч* миллион* половин* треть четверть раз раза ежедневно еженедельно ежемесячно ежегодно",
        "понедельник* вторник* среду среда четверг* пятниц* суббот* воскресень* январ* феврал* март* апрел* мая июн* "
        "июл* август* сентябр* октябр* ноябр* декабр* день дня дней недел* месяц* год года году лет час* минут* век* "
        "весн* лет* осен* зим*",
    ),
}
_HOW_MUCH_UNSPACED = re.compile("多少|几|幾|多久|多大|多长|多高|いくら|いくつ|何(?:人|円|個|歳|回|度)")
_WHEN_UNSPACED = re.compile(
    "何时|何時|什么时候|什麼時候|哪(?:年|天|日|一年|一天)|几(?:点|月|号)|いつ|何(?:年|月|日|曜日)"
)
_NUMBER_UNSPACED = "[一二三四五六七八九十百千万半两兩]"
_TIME_UNSPACED = f"{_NUMBER_UNSPACED}(?:[年月日天周週点點时時分])|[周週]{_NUMBER_UNSPACED}|曜日|春|夏|秋|冬"
_FIGURE = r"\d"
_TIME = r"\d{4}|\d\d?[.:]\s?\d\d|\d\d?\.\s|\d\d?[年月日点點时時]"


@cache
def _asking(language: str) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    words = _OF.get(language)
    if words is None:
        return None
    how_much, when = (re.compile(rf"\b(?:{one})\b", re.IGNORECASE) for one in (words.how_much, words.when))
    return how_much, when


@cache
def _saying(language: str, when: bool) -> Callable[[str], bool]:
    words = _OF.get(language)
    said = "" if words is None else words.times if when else words.numbers
    known = "|".join(one.replace("*", r"\w*") for one in said.split())
    figures, unspaced = (_TIME, _TIME_UNSPACED) if when else (_FIGURE, _NUMBER_UNSPACED)
    pattern = re.compile(rf"{figures}|{unspaced}" + (rf"|\b(?:{known})\b" if known else ""), re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


def kind_asked_for(question: str, language: str) -> Callable[[str], bool] | None:
    """What tells whether a text says how much, or when, as the question asks; None where it asks neither, or in another
    language than those of `terms.ASKING`, Chinese and Japanese."""
    asks = _asking(language)
    if (asks and asks[1].search(question)) or _WHEN_UNSPACED.search(question):
        return _saying(language, when=True)
    if (asks and asks[0].search(question)) or _HOW_MUCH_UNSPACED.search(question):
        return _saying(language, when=False)
    return None
