"""Terms: stems by language, pairs of characters where no spaces are written."""

from __future__ import annotations

import unicodedata

import pytest
import snowballstemmer

from lmworks.grounding import terms as module
from lmworks.grounding.terms import FREQUENT, language_of, languages_of, terms


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Houses, HOUSE and house-keeping!", "english", ["hous", "hous", "and", "hous", "keep"]),
        ("Die Häuser wurden gebaut", "german", ["die", "haus", "wurd", "gebaut"]),
        ("snake_case v2.0", "none", ["snake", "case", "v2", "0"]),
        ("東京タワー", "none", ["東京", "京タ", "タワ", "ワー"]),
        ("高さ333メートル", "none", ["高さ", "333", "メー", "ート", "トル"]),
        ("字", "none", ["字"]),
        ("ﬁne ＡＢＣ", "none", ["fine", "abc"]),
        ("...", "english", []),
        ("x" * 500, "none", ["x" * 64]),
    ],
)
def test_the_terms_of_a_text(text: str, language: str, expected: list[str]):
    assert terms(text, language) == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The rent of the flat is due on the third day and it is paid to the landlord.", "english"),
        ("Die Miete ist am dritten Tag fällig und wird von der Bank an den Vermieter überwiesen.", "german"),
        ("Le loyer est payable le trois du mois et les chats sont admis dans la maison.", "french"),
        ("東京タワーは高さ333メートルの電波塔である。", "none"),
        ("def f(x): return x + 1", "none"),
        ("", "none"),
    ],
)
def test_a_text_tells_its_language(text: str, language: str):
    assert language_of(text) == language


def test_stems_are_kept_up_to_a_bound_and_are_the_same_when_they_were_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_KNOWN", 2)
    stems = module._Stems("english")
    words = ["houses", "building", "houses", "running", "building"]
    assert [stems[word] for word in words] == ["hous", "build", "hous", "run", "build"]
    assert len(stems) <= 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("도서관은", ["도서", "서관", "관은"]),  # the particle stays: words end like it, too
        ("도서관에서는", ["도서", "서관"]),  # such a long one does not
        ("집은 집", ["집은", "집", "집"]),
        ("पुस्तकालय हर दिन", ["पुस्तकालय", "हर", "दिन"]),
        ("পাখি তোতা", ["পাখি", "তোতা"]),
        ("நூலகம் தினமும்", ["நூலகம்", "தினமும்"]),
        ("క్షేత్రం", ["క్షేత్రం"]),  # viramas join letters
        ("क्\u200dषेत्र क्षेत्र", ["क्षेत्र"] * 2),
        ("می\u200cخواهم میخواهم", ["میخواهم"] * 2),
        ("ค่าเช่า", ["ค่า", "าเ", "เช่", "ช่า"]),  # tones and vowels stay with their letters
        ("cafe\u0301 café", ["café", "café"]),
        ("x\u0302y", ["x\u0302y"]),  # no letter of its own
        ("İSTANBUL istanbul", ["istanbul"] * 2),
        ("مَدْرَسَة مدرسة", ["مدرسة"] * 2),
        ("שָׁלוֹם שלום", ["שלום"] * 2),
        ("Biblio\u00adthek", ["bibliothek"]),
        ("葛\U000e0100城", ["葛城"]),  # a variant of the same sign
        ("snake_case", ["snake", "case"]),
    ],
)
def test_words_of_other_scripts_are_whole(text: str, expected: list[str]):
    assert terms(text) == expected


TEXTS = {
    "english": "The library opens at nine in the morning. Books may be kept for three weeks, and there is a fine after "
    "that. Children need a card that their parents have signed.",
    "german": "Die Bibliothek öffnet um neun Uhr. Bücher dürfen drei Wochen behalten werden, und danach "
    "ist eine Gebühr "
    "fällig. Kinder brauchen einen Ausweis, den die Eltern unterschrieben haben.",
    "french": "La bibliothèque ouvre à neuf heures du matin. On peut garder les livres pendant trois semaines, et une "
    "amende est due après. Pour les enfants, il faut une carte que les parents ont signée.",
    "spanish": "La biblioteca abre a las nueve de la mañana. Los libros se pueden tener tres semanas, y "
    "después hay una "
    "multa. Los niños necesitan un carné que firman los padres.",
    "italian": "La biblioteca apre alle nove del mattino. I libri si possono tenere per tre settimane, e dopo c'è una "
    "multa. Ai bambini serve una tessera che non costa nulla ed è firmata dai genitori.",
    "portuguese": "A biblioteca abre às nove da manhã. Os livros podem ficar em casa três semanas, e "
    "depois há uma multa "
    "a pagar. As crianças precisam de um cartão que os pais assinam.",
    "dutch": "De bibliotheek gaat om negen uur open. Boeken mag je drie weken houden en daarna is er een "
    "boete. Kinderen "
    "hebben een pas nodig die door de ouders is getekend en niet geldig is voor anderen.",
    "swedish": "Biblioteket öppnar klockan nio på morgonen. Böckerna får lånas i tre veckor och sedan är det en avgift "
    "att betala. Barn måste ha ett kort som föräldrarna har skrivit på.",
    "russian": "Библиотека открывается в девять утра. Книги можно держать три недели, а потом нужно платить штраф. На "
    "ребёнка выдают отдельный билет, и его подписывают родители, как и договор с читателем.",
    "danish": "Biblioteket åbner klokken ni om morgenen. Man kan beholde bøgerne i tre uger, og efter den tid skal der "
    "betales et gebyr. Børn har brug for et kort, som forældrene har skrevet under på. Hunden må ikke komme med ind.",
    "norwegian": "Biblioteket åpner klokka ni om morgenen. Du kan beholde bøkene i tre uker, og etter den tid må det "
    "betales et gebyr. Barn trenger et kort som foreldrene har skrevet under på. Hunden får ikke bli med inn.",
    "finnish": "Kirjasto aukeaa aamulla yhdeksältä, mutta sunnuntaisin se on suljettu. Kirjoja saa pitää "
    "kolme viikkoa, ja "
    "sen jälkeen peritään maksu. Lapsi tarvitsee kortin, jonka vanhemmat ovat allekirjoittaneet.",
    "estonian": "Raamatukogu avatakse hommikul kell üheksa, aga pühapäeval on see suletud. Raamatuid võib hoida kolm "
    "nädalat ja pärast seda tuleb maksta viivist. Lapsel peab olema kaart, mis on vanemate allkirjaga.",
    "hungarian": "A könyvtár reggel kilenckor nyit, de vasárnap nem fogad olvasókat. A könyveket három hétig lehet "
    "megtartani, és az után bírságot kell fizetni. A gyerekeknek olyan igazolvány kell, amelyet a szülők aláírtak.",
    "turkish": "Kütüphane sabah dokuzda açılır, ama pazar günleri kapalıdır. Kitaplar üç hafta kadar "
    "evde tutulabilir ve "
    "sonra her gün için bir ceza ödenir. Çocuklar için velinin imzaladığı bir kart gerekir.",
    "polish": "Biblioteka jest otwarta od dziewiątej rano. Książki można trzymać przez trzy tygodnie, a po tym czasie "
    "płaci się karę. Dzieci muszą mieć kartę, którą podpisali rodzice. Psa nie wolno wprowadzać do czytelni.",
    "czech": "Knihovna se otevírá v devět hodin ráno. Knihy je možné mít doma tři týdny a po této době "
    "se platí pokuta. "
    "Děti potřebují průkaz, který podepsali rodiče. Pes do čítárny nesmí, ale kočka knihovníka ano.",
    "romanian": "Biblioteca se deschide la ora nouă dimineața. Cărțile pot fi păstrate trei săptămâni, iar după acest "
    "termen se plătește o amendă. Copiii au nevoie de un permis care este semnat de părinți și nu costă nimic.",
    "catalan": "La biblioteca obre a les nou del matí. Els llibres es poden tenir tres setmanes, i "
    "després cal pagar una "
    "multa. Els nens necessiten un carnet signat pels pares, però no costa diners. Amb gossos no s'hi pot entrar.",
    "serbian": "Biblioteka se otvara u devet sati ujutru. Knjige mogu da se drže tri nedelje, a posle "
    "toga se plaća kazna. "
    "Deca moraju da imaju kartu koju su potpisali roditelji. Pas ne sme u čitaonicu, ali je mačka već tamo.",
    "lithuanian": "Biblioteka atidaroma devintą valandą ryto, bet sekmadieniais ji nedirba. Knygas galima laikyti tris "
    "savaites, o po to reikia mokėti baudą. Vaikams reikalinga kortelė, kuri yra pasirašyta tėvų. Su šunimis įeiti "
    "negalima, nes čia ir taip ankšta.",
    "basque": "Liburutegia goizeko bederatzietan irekitzen da, baina igandeetan itxita dago. Liburuak hiru astez eduki "
    "daitezke etxean, eta gero isuna ordaindu behar da. Haurrek gurasoek sinatutako txartel bat behar dute.",
    "irish": "Osclaíonn an leabharlann ar a naoi a chlog ar maidin, ach tá sí dúnta Dé Domhnaigh. Is "
    "féidir na leabhair a "
    "choinneáil ar feadh trí seachtaine, agus íoctar fíneáil ina dhiaidh sin. Tá cárta ag teastáil ó na páistí.",
    "esperanto": "La biblioteko malfermiĝas je la naŭa matene, sed dimanĉe ĝi estas fermita. Oni povas "
    "teni la librojn dum "
    "tri semajnoj, kaj poste oni pagas monpunon. Infanoj bezonas karton, kiun subskribis la gepatroj.",
    "indonesian": "Perpustakaan buka pukul sembilan pagi. Buku boleh dibawa pulang selama tiga minggu, dan setelah itu "
    "ada denda yang harus dibayar. Anak-anak memerlukan kartu dengan tanda tangan orang tua untuk meminjam.",
    "greek": "Η βιβλιοθήκη ανοίγει στις εννέα το πρωί. Μπορείτε να κρατήσετε τα βιβλία τρεις εβδομάδες και μετά "
    "πληρώνετε πρόστιμο. Τα παιδιά χρειάζονται κάρτα που έχουν υπογράψει οι γονείς.",
    "armenian": "Գրադարանը բացվում է առավոտյան ժամը իննին։ Գրքերը կարելի է պահել երեք շաբաթ, իսկ հետո պետք է տուգանք "
    "վճարել։ Երեխաներին անհրաժեշտ է քարտ, որը ստորագրել են ծնողները։",
    "arabic": "تفتح المكتبة أبوابها في التاسعة صباحا. يمكن الاحتفاظ بالكتب ثلاثة أسابيع، ثم تدفع غرامة "
    "عن كل يوم. يحتاج "
    "الأطفال إلى بطاقة وقعها الوالدان.",
    "persian": "کتابخانه ساعت نه صبح باز می‌شود. کتاب‌ها را می‌توان سه هفته نگه داشت و پس از آن باید جریمه پرداخت. کودکان "
    "به کارتی نیاز دارند که پدر و مادر آن را امضا کرده باشند.",
    "hindi": "पुस्तकालय सुबह नौ बजे खुलता है। किताबें तीन सप्ताह तक रखी जा सकती हैं और उसके बाद जुर्माना देना पड़ता है। "
    "बच्चों को एक कार्ड चाहिए जिस पर माता-पिता के हस्ताक्षर हों।",
    "nepali": "पुस्तकालय बिहान नौ बजे खुल्छ। किताब तीन हप्तासम्म राख्न पाइन्छ र त्यसपछि जरिवाना तिर्नुपर्ने हुन्छ। "
    "बालबालिकाका लागि आमाबुबाले सही गरेको कार्ड चाहिन्छ, तर यो निःशुल्क हो।",
    "tamil": "நூலகம் காலை ஒன்பது மணிக்குத் திறக்கும். புத்தகங்களை மூன்று வாரங்கள் வைத்திருக்கலாம், பிறகு அபராதம் கட்ட "
    "வேண்டும். குழந்தைகளுக்குப் பெற்றோர் கையெழுத்திட்ட அட்டை தேவை.",
    "yiddish": "די ביבליאָטעק עפֿנט זיך ניין אַ זייגער אין דער פֿרי. מען מעג האַלטן די ביכער דרײַ וואָכן, און נאָך דעם "
    "צאָלט מען אַ שטראַף. קינדער דאַרפֿן האָבן אַ קאַרטל וואָס די עלטערן האָבן אונטערגעשריבן.",
}
"""What somebody would write of a library, in each of the languages."""


@pytest.mark.parametrize("language", FREQUENT)
def test_a_short_text_is_in_its_language(language: str):
    assert language_of(TEXTS[language]) == language
    assert language_of(unicodedata.normalize("NFD", TEXTS[language])) == language
    assert terms(TEXTS[language], language)  # there are stems for it


@pytest.mark.parametrize(
    "text",
    [
        # Slovak, Slovenian, Icelandic, Ukrainian, Bulgarian, Marathi, Urdu: near neighbours without stems
        "Knižnica sa otvára o deviatej ráno. Knihy je možné mať doma tri týždne a potom sa platí pokuta. "
        "Deti potrebujú "
        "preukaz, ktorý podpísali rodičia.",
        "Knjižnica se odpre ob devetih zjutraj. Knjige lahko obdržite tri tedne in potem je treba plačati zamudnino. "
        "Otroci potrebujejo izkaznico, ki so jo podpisali starši.",
        "Bókasafnið er opnað klukkan níu að morgni. Bækurnar má hafa í þrjár vikur og eftir það þarf að "
        "borga sekt. Börn "
        "þurfa kort sem foreldrar hafa skrifað undir.",
        "Бібліотека відчиняється о дев'ятій ранку. Книги можна тримати три тижні, а потім треба платити "
        "штраф. Для дітей "
        "є окремий квиток, який підписують батьки, і це не коштує грошей.",
        "Библиотеката отваря в девет сутринта. Книгите могат да се задържат три седмици, а след това се "
        "плаща глоба. За "
        "децата е нужна карта, която родителите са подписали.",
        "ग्रंथालय सकाळी नऊ वाजता उघडते. पुस्तके तीन आठवडे ठेवता येतात आणि त्यानंतर दंड भरावा लागतो. हे कार्ड मुलांसाठी "
        "आहे व त्यावर पालकांची सही हवी.",
        "لائبریری صبح نو بجے کھلتی ہے۔ کتابیں تین ہفتے تک رکھی جا سکتی ہیں اور اس کے بعد جرمانہ دینا پڑتا ہے۔",
        "שלום, הספרייה נפתחת בתשע בבוקר.",
        "a[i] = z[i] + w * v; k = s[u]",
    ],
)
def test_a_text_that_nobody_here_has_stems_for_is_in_none_of_the_languages(text: str):
    assert language_of(text) == "none"


def test_a_word_of_two_languages_makes_no_other_one_of_a_text():
    assert language_of("Nie na!") == "none"  # of "nie", German has one, too
    assert language_of("Tom nie, nie, nie.") == "none"
    assert languages_of([TEXTS["spanish"] + " Amb."]) == ["spanish"]
    assert language_of("α β γ") == "greek"  # nothing else is written so


def test_every_language_with_stems_but_one_is_recognised():
    known = set(snowballstemmer.algorithms()) - {"porter", "dutch_porter"}
    assert known - set(FREQUENT) == {"sesotho"}


@pytest.mark.parametrize("text", ["I've tried to contact her.", "SEO is an easy way to go", "Dan is here to see Ada"])
def test_a_few_words_of_english_are_english(text: str):
    """Two words that are common elsewhere (ve and her in Turkish) tell nothing."""
    assert languages_of([text]) == ["english"]
