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
    """Of one language: two patterns, and lists of words (patterns without white space, a * for any letters)."""

    how_much: str
    """What asks for a number, as a pattern."""
    when: str
    """What asks for a time, as a pattern."""
    numbers: str
    """What says a number, besides figures."""
    times: str
    """What says a time."""
    other: str = ""
    """What asks for something else, as a pattern: after it a word that asks for a time only joins clauses ("que faire
    quand il pleut?")."""


_OF = {
    "english": _Words(
        r"how (?:many|much|long|old|far|often|tall|big|large|high|deep|fast|wide|heavy|few)|what (?:do|does) .* cost|"
        r"(?:what|which) (?:percentage|number|temperature|price|age|amount)",
        r"when|how (?:early|late|soon)|(?:what|which) (?:year|date|time|day|month)",
        "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand "
        "million* half third quarter once twice daily weekly monthly yearly annually",
        "monday* tuesday* wednesday* thursday* friday* saturday* sunday* january february march april may june july "
        "august september october november december day* week* month* year* hour* minute* century centuries "
        "immediately noon midnight morning* afternoon* evening* night* o['’]clock dawn dusk sunrise sunset dark "
        "tonight today tomorrow yesterday weekend* fortnight* decade* easter christmas before after until till since "
        "during spring* summer* autumn* winter* season* always never",
    ),
    "german": _Words(
        r"wie ?viele?|wie (?:hoch|lang|alt|weit|oft|groß|gross|tief|schnell|breit|schwer|teuer|warm|laut|dick)|"
        r"was kosten?|was kostet|welche[mnrs]? (?:temperatur|alter|höhe|stufe|\w*nummer|\w*stärke|\w*druck|betrag)",
        r"wann|wie (?:lange|früh|spät)|welche[mnrs]? (?:\w*tag|\w*monat|\w*jahr|\w*zeit|datum|\w*frist|uhrzeit)",
        "zwei(?![fg])* drei* vier* fünf* sechs* sieben* acht neun* zehn* elf zwölf* zwanzig dreißig vierzig fünfzig "
        "hundert* tausend* million* halb* hälfte viertel* einmal zweimal dreimal täglich* wöchentlich* monatlich* "
        "jährlich* stündlich*",
        "*montag(?!e)* *dienstag* *mittwoch* *donnerstag* *freitag* *samstag* *sonntag* januar februar märz april juni "
        "juli august september oktober november dezember *tag (?!etage|*montage)*tagen? *tages *woche *wochen "
        "*monat* *jahr *jahre *jahren *jahres *jahresende *monatsende uhr stunde* minute* sofort unverzüglich "
        "frühling* sommer* herbst* winter* ostern weihnachten neujahr jahrhundert*",
    ),
    "french": _Words(
        r"combien|quell?e?s? (?:âge|prix|température|durée|fréquence|numéro|montant)",
        r"quand|quell?e?s? (?:heure|date|année|jour|mois)",
        "deux trois quatre cinq six sept huit neuf dix onze douze vingt trente quarante cinquante cent mille "
        "million* demi* moitié tiers quart quarts fois quotidien* hebdomadaire* mensuel* annuel*",
        "lundi* mardi* mercredi* jeudi* vendredi* samedi* dimanche* janvier février mars avril mai juin juillet août "
        "septembre octobre novembre décembre jour jours journée* semaine* mois an ans année* heure heures minute* "
        r"siècle* immédiatement printemps (?:en\s+|cet\s+|[ld]['’])été automne hiver noël",
        r"qu(?:e|oi|i|'|’)|comment|pourquoi|où|combien|quell?e?s?",
    ),
    "spanish": _Words(
        r"cuánt[oa]s?|qué (?:edad|precio|temperatura|número|cantidad)",
        r"cuándo|qué (?:hora|fecha|año|día|mes)",
        "dos tres cuatro cinco seis siete ocho nueve diez once doce veinte treinta cuarenta cincuenta cien ciento* mil "
        "millón millones medio media mitad tercio cuarto vez veces diari* semanal* mensual* anual*",
        "lunes martes miércoles jueves viernes sábado* domingo* enero febrero marzo abril mayo junio julio agosto "
        "septiembre octubre noviembre diciembre día* semana* mes meses año* hora* minuto* siglo* inmediatamente "
        "primavera verano otoño invierno",
    ),
    "italian": _Words(
        r"quant[oaie]|(?:che|quale|quali) (?:età|prezzo|temperatura|numero|importo)",
        r"quando|(?:che|quale|quali) (?:ora|ore|data|anno|giorno|mese)",
        "due tre quattro cinque sei sette otto nove dieci undici dodici venti trenta quaranta cinquanta cento *mila "
        "mille milion* mezzo mezza mezz'ora metà terzo quarto volta volte giornalier* settimanal* mensil* annual*",
        "lunedì martedì mercoledì giovedì venerdì sabato domenica gennaio febbraio marzo aprile maggio giugno luglio "
        "agosto settembre ottobre novembre dicembre giorno giorni giornata giornate settiman* mese mesi anno anni ora "
        "ore minut* secol* immediatamente primavera estate autunno inverno",
        r"che|chi|cosa|cos['’]|come|perché|dove|quant[oaie]|qual[ei]?",
    ),
    "portuguese": _Words(
        r"quant[oa]s?|(?:que|qual) (?:idade|preço|temperatura|número|valor)",
        r"quando|(?:que|qual) (?:horas?|data|ano|dia|mês)",
        "dois duas três quatro cinco seis sete oito nove dez onze doze vinte trinta quarenta cinquenta cem cento mil "
        "milhão milhões meio meia metade terço quarto vez vezes diári* semana* mensal* mensais anua*",
        "segunda terça quarta quinta sexta sábado* domingo* janeiro fevereiro março abril maio junho julho agosto "
        "setembro outubro novembro dezembro dia dias semana* mês meses ano anos hora* minuto* século* imediatamente "
        "primavera verão outono inverno",
        r"que|quê|quem|como|por ?qu[eê]|onde|quant[oa]s?|qua(?:l|is)",
    ),
    "dutch": _Words(
        r"hoe ?(?:veel|lang|oud|ver|vaak|groot|hoog|diep|snel|zwaar|duur|warm)|wat kost(?:en)?|"
        r"welke? (?:leeftijd|prijs|temperatuur|\w*nummer|bedrag)",
        r"wanneer|hoe (?:laat|vroeg)|welke? (?:jaar|dag|maand|datum|tijd)",
        "twee drie vier vijf zes zeven acht negen tien elf twaalf twintig dertig veertig vijftig honderd duizend "
        "miljoen half halve helft derde kwart keer dagelijks* wekelijks* maandelijks* jaarlijks*",
        "*maandag* *dinsdag* *woensdag* *donderdag* *vrijdag* *zaterdag* *zondag* januari februari maart april mei "
        "juni juli augustus september oktober november december dag dagen week weken maand maanden jaar jaren uur "
        "minuut minuten eeuw* onmiddellijk lente zomer herfst winter",
        r"wat|wie|hoe|waar\w*|welke?",
    ),
    "swedish": _Words(
        r"hur (?:många|mycket|lång|långt|länge|gammal|ofta|stor|hög|djup|snabbt|tung|dyr|varm)|vad kostar|"
        r"vilke[nt] (?:ålder|temperatur|\w*nummer|pris)",
        r"när|hur (?:tidigt|sent)|vilke[nt] (?:år|dag|månad|datum|tid)",
        "två tre fyra fem sex sju åtta nio tio elva tolv tjugo trettio fyrtio femtio hundra tusen miljon* halv* "
        "hälften tredjedel fjärdedel gång gånger dagligen varje",
        "*måndag* *tisdag* *onsdag* *torsdag* *fredag* *lördag* *söndag* januari februari mars april maj juni juli "
        "augusti september oktober november december dag* vecka veckor månad* år året timm* minut* klockan sekel "
        "omedelbart våren sommar* höst* vinter*",
        r"vad|vem|hur|varför|var|vart|vilke[nt]|vilka",
    ),
    "russian": _Words(
        r"сколько|как (?:долго|часто|далеко)|как(?:ой|ая|ое|ие|ом|ую) (?:возраст|цена|температура|номер)",
        r"когда|как(?:ой|ая|ое|ие|ом|ую) (?:год|году|день|месяц|месяце|дата)",
        "два две двух двум двумя двое двести трёх три трех четыр* пят* шест* семь семи восем* девят* десят* "
        "одиннадцат* двенадцат* двадцат* тридцат* сорок* сто тысяч* миллион* половин* треть четверть раз раза "
        "ежедневно еженедельно ежемесячно ежегодно",
        "понедельник* вторник* среду среда четверг* пятниц* суббот* воскресень* январ* феврал* март* апрел* мая июн* "
        "июл* август* сентябр* октябр* ноябр* декабр* день дня дней недел* месяц* год года году лет час часа часов "
        "часу часы минут* век века веке веков весна весной весны лето летом лета осен* зима зимой зимы",
        r"что|кто|как|где|куда|почему|зачем|сколько|как(?:ой|ая|ое|ие|ом|ую)",
    ),
}
_HOW_MUCH_UNSPACED = re.compile(
    "多少|[几幾](?![乎何])|多久|多大|多[长長]|多高|いくら|いくつ|何(?:人|円|個|歳|回|度|[年日時]間|か月|ヶ月)"
)
_WHEN_UNSPACED = re.compile(
    "何[时時](?!間)|什么时候|什麼時候|哪(?:年|天|日|一年|一天)|[几幾][点點月号號]|いつ(?!も)|何(?:[年日](?!間)|月|曜日)"
)
_NUMBER_UNSPACED = "[二三四五六七八九十百千万两兩]|[一半][个個]?[年月日天周週点點时時小元円块塊百千万十人名歳岁回次倍]"
"""Of one and a half only with what is counted: 一 stands in the commonest words (统一, 一般)."""
_TIME_UNSPACED = "[{0}](?:[年月日天周週点點时時分])|[周週][{0}]|曜日|春|夏|秋|冬".format(
    "一二三四五六七八九十百千万半两兩"
)
_FIGURE = r"\d"
_TIME = r"\d{4}|\d\d?[.:]\s?\d\d|\d\d?\.\s|\d\d?[年月日点點时時]"


@cache
def _patterns(language: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]] | None:
    """What asks how much, what asks when, and what before it asks for something else."""
    words = _OF.get(language)
    if words is None:
        return None
    how_much, when = (re.compile(rf"\b(?:{one})\b", re.IGNORECASE) for one in (words.how_much, words.when))
    return how_much, when, re.compile(rf"\b(?:{words.other})\b" if words.other else r"(?!)", re.IGNORECASE)


@cache
def saying(language: str, when: bool) -> Callable[[str], bool]:
    """What tells whether a text in a language says how much, or `when`."""
    words = _OF.get(language)
    said = "" if words is None else words.times if when else words.numbers
    known = "|".join(one.replace("*", r"\w*") for one in said.split())
    figures, unspaced = (_TIME, _TIME_UNSPACED) if when else (_FIGURE, _NUMBER_UNSPACED)
    pattern = re.compile(rf"{figures}|{unspaced}" + (rf"|\b(?:{known})\b" if known else ""), re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


def kind_asked_for(question: str, language: str) -> Callable[[str], bool] | None:
    """What tells whether a text says how much, or when, as the question asks; None where it asks neither, or in another
    language than those of `terms.ASKING`, Chinese and Japanese."""
    asks = _patterns(language)
    when = asks and asks[1].search(question)
    if (asks and when and not asks[2].search(question[: when.start()])) or _WHEN_UNSPACED.search(question):
        return saying(language, when=True)
    if (asks and asks[0].search(question)) or _HOW_MUCH_UNSPACED.search(question):
        return saying(language, when=False)
    return None
