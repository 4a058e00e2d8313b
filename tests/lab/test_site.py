"""The claims' pages: everything that is stored, the same numbers everywhere, and nothing from elsewhere."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import string
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from forked import forked
from full_disk import full_disk

from lab.test_run import NORMAL, TOY
from lmworks.basics.config import read_toml
from lmworks.basics.errors import ConfigError
from lmworks.cli import main
from lmworks.lab import registry, store
from lmworks.lab.run import RunOptions, run_experiment
from lmworks.lab.site import drawing, words
from lmworks.lab.site.axis import Axis, short
from lmworks.lab.site.benches import stories
from lmworks.lab.site.claims import claims
from lmworks.lab.site.export import export
from lmworks.lab.site.numbers import Number
from lmworks.lab.site.pages import site, table, typeset
from lmworks.lab.site.strip import Bounds
from lmworks.lab.site.words import Words, languages

KB = 1000
INSIDE_WORDS = ("span", "code")
"""Elements that can begin and end within a word."""


class Read(HTMLParser):
    """What a test asks of a page: ids, addresses, words, and the numbers of its figure and table."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.drawn: list[tuple[str, float]] = []
        """Height in pixels (or the bar's width), and the number."""
        self.told: list[float] = []
        self.text: list[str] = []
        self.stack: list[str] = []
        self.figure_at, self.touches = -1, False
        self.feed(page.decode())
        assert not self.stack, f"left open: {self.stack}"

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.touches &= tag in INSIDE_WORDS
        if tag not in ("meta", "link", "input", "br"):
            self.stack.append(tag)
        if "id" in facts:
            self.ids.append(facts["id"])
            self.figure_at = len(self.text) if facts["id"] == "figure" else self.figure_at
        if tag == "a":
            self.links.append(facts["href"])
        self.loads += [facts[name] for name in ("src", "action", "srcset", "data") if name in facts]
        if tag == "link" and facts["rel"] != "alternate":
            self.loads.append(facts["href"])
        if "data-y" in facts:
            self.drawn.append((facts.get("y", ""), float(facts["data-y"])))
        if tag == "data" and "table" in self.stack and self.stack.count("details") == 1 and "figure" not in self.stack:
            self.told.append(float(facts["value"]))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "link", "input", "br"):
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag
        self.touches &= tag in INSIDE_WORDS

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "script", "title"):
            words = data.split()
            if self.touches and words and not data[0].isspace():
                self.text[-1] += words.pop(0)
            self.text += words
            self.touches = not data[-1].isspace()


@pytest.fixture(scope="module")
def shipped() -> dict[str, bytes]:
    return site(claims())


@pytest.fixture(scope="module")
def read(shipped) -> dict[str, Read]:
    return {name: Read(content) for name, content in shipped.items() if name.endswith(".html")}


@pytest.fixture(scope="module")
def stored():
    return [one for number in registry.experiments() if (one := store.stored(number)) is not None]


@pytest.fixture(scope="module")
def toy():
    return run_experiment(TOY, "full", NORMAL)


def test_figure_table_csv_and_store_hold_the_same_numbers(shipped, stored):
    for finding in stored:
        name = f"q{finding.question:02d}"
        assert shipped[f"{name}.json"] == store.path_of(store.SHIPPED, finding.question, finding.scale).read_bytes()
        if finding.chart is None:
            continue
        first = 'id="figure".*?<details id="table".*?</table>'
        part = re.search(first, shipped[f"{name}.html"].decode(), re.DOTALL)[0]
        numbers = sorted(y for series in finding.chart.series for y in series.y)
        assert sorted(map(float, re.findall(r'data-y="([^"]+)"', part))) == numbers, name
        assert sorted(map(float, re.findall(r'<data value="([^"]+)"', part))) == numbers, name
        rows = list(csv.DictReader(io.StringIO(shipped[f"{name}.csv"].decode())))
        assert sorted(float(row["y"]) for row in rows) == numbers, name
        ends = sorted(end for series in finding.chart.series for end in series.low or ())
        assert sorted(float(row["low"]) for row in rows if row["low"]) == ends, name
        assert {row["series"] for row in rows} == {series.name for series in finding.chart.series}


def test_what_is_drawn_stands_where_its_number_says(shipped, stored):
    """Heights are an affine law of the numbers (of their logarithms, on such an axis)."""
    import math

    checked = 0
    for finding in stored:
        if finding.chart is None or finding.chart.kind == "bars":
            continue
        page = shipped[f"q{finding.question:02d}.html"].decode()
        points = [
            (float(y), float(n)) for y, n in re.findall(r'<use [^>]*y="([\d.]+)" class="at" data-y="([^"]+)"', page)
        ]
        at = [(y, math.log(n) if finding.chart.log_y else n) for y, n in points]
        (top, most), (bottom, least) = min(at), max(at)
        for y, number in at:
            wanted = bottom + (number - least) / (most - least) * (top - bottom)
            assert y == pytest.approx(wanted, abs=0.2), finding.question
        checked += 1
    assert checked > 20


def test_each_claim_is_on_the_front_with_a_mark_for_each_part(shipped, stored):
    front = shipped["index.html"].decode()
    rows = {int(re.search(r'class="number">(\d+)', row)[1]): row for row in front.split('<li class="row')[1:]}
    assert sorted(rows) == list(range(1, 51))
    for finding in stored:
        assert rows[finding.question].count('<i class="mark') == len(finding.parts)
        assert finding.count in rows[finding.question]
    for number in set(rows) - {one.question for one in stored}:
        assert 'data-found="missing"' in rows[number] and "Open: " in rows[number]


def test_a_page_says_claim_verdict_key_figure_and_figure_in_this_order_and_briefly(shipped, read, stored):
    for finding in stored:
        name = f"q{finding.question:02d}.html"
        page = " ".join(read[name].text)
        order = [finding.claim, finding.count.capitalize(), "Part by part", "How it was measured", "The run"]
        places = [page.index(" ".join(text.split())) for text in order]
        assert places == sorted(places), name
        assert finding.parts[0].figure.figure in page
        said, note = set(read[name].text), finding.note.replace("`", "").split()
        assert [word for word in note if word not in said and "http" not in word] == [], name
        if finding.version == 2 and finding.chart:
            assert read[name].figure_at <= 150, f"{name}: {read[name].figure_at} words before the figure"


def test_every_link_leads_somewhere_and_every_id_is_one(shipped, read):
    for name, page in read.items():
        assert len(page.ids) == len(set(page.ids)), name
        for link in page.links:
            if link.startswith("https://") or link.startswith("http://"):
                continue
            path, _, place = link.partition("#")
            there = (Path(name).parent / path).as_posix() if path else name
            there = str(Path("/", there).resolve().relative_to("/"))
            assert there in shipped, f"{name}: {link}"
            if place:
                assert place in read[there].ids, f"{name}: {link}"


def test_a_text_shows_its_addresses_and_code_and_keeps_short_words_together():
    shown = typeset("GPT-3 <b> by `lmworks lab`, state-of-the-art top-k: https://a.b/c.")
    assert shown == (
        '<span class="kept-whole">GPT-3</span> &lt;b&gt; by <code>lmworks lab</code>, state-of-the-art '
        '<span class="kept-whole">top-k</span>: <a href="https://a.b/c">a.b/c</a>.'
    )


def test_figures_can_be_linked_to(read, stored):
    for finding in stored:
        wanted = {"key", "parts", "part-1", "how", "again", "measurements"} | (
            {"figure", "table"} if finding.chart else set()
        )
        assert wanted <= set(read[f"q{finding.question:02d}.html"].ids)


def test_no_page_asks_for_anything_from_elsewhere(shipped, read):
    for name, page in read.items():
        assert all(address.startswith("data:") for address in page.loads), name
        text = shipped[name].decode()
        assert not re.search(r"@import|url\(", text), name
        scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
        wanted = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts]
        beside = ["'self'"] if f'{stories.FILE}"' in text else []  # the live benches' weights, a file beside the page
        allowed = " ".join([*wanted, *beside])
        policy = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:"
        assert f'{policy}; script-src {allowed}"' in text and "innerHTML" not in text
        assert not re.search(r'\son\w+="', text), f"{name} holds script in an attribute"


def test_pages_are_small(shipped):
    for name, content in shipped.items():
        if name.endswith("all.html"):
            measured = sum(f"q{number:02d}.json" in shipped for number in range(1, 51))
            assert len(content) * 50 / measured <= 1000 * KB, f"{name}: {len(content):,} bytes with {measured} of 50"
        elif name.endswith(".html"):
            assert len(gzip.compress(content)) <= 40 * KB, name
            scripts = b"".join(re.findall(rb"<script>(.*?)</script>", content, re.DOTALL))
            assert len(gzip.compress(scripts)) <= 15 * KB, name


def test_every_language_says_everything_with_the_same_facts():
    def flat(code: str) -> dict[str, object]:
        found = {}
        for key, value in read_toml(words.FOLDER / f"{code}.toml").items():
            found |= {f"{key}.{one}": text for one, text in value.items()} if isinstance(value, dict) else {key: value}
        return found

    def facts(text: object) -> list[set[str]]:
        texts = text if isinstance(text, list) else [text]
        return [{name for _, name, _, _ in string.Formatter().parse(one) if name} for one in texts]

    first = flat("en")
    assert {"en", "de"} <= set(languages())
    for code in languages():
        other = flat(code)
        assert other.keys() == first.keys()
        assert {key for key in first if facts(first[key]) != facts(other[key])} == set()
    assert set(map(str, range(1, 51))) == set(Words.of("en").group("titles"))


def test_no_word_is_idle():
    """Each key is used by a template or by the code."""
    here = Path(words.__file__).parent
    code = "".join(path.read_text() for path in [*here.rglob("*.py"), *here.rglob("*.html")])
    plain = [key for key, value in read_toml(words.FOLDER / "en.toml").items() if not isinstance(value, dict)]
    states = {
        "older",
        "doubt",
        "unreadable",
        "not_run",
        "no_experiment",
        "scale_quick",
        "scale_full",
        "chance",
        "ideal",
    }
    assert [key for key in plain if f'"{key}"' not in code and key not in states] == []


def test_counts_in_english_are_those_of_the_finding(stored):
    english = Words.of("en")
    assert {one.question: english.count([part.verdict for part in one.parts]) for one in stored} == {
        one.question: one.count for one in stored
    }


def test_a_third_language_is_only_a_file(tmp_path, monkeypatch):
    shutil.copytree(words.FOLDER, tmp_path / "languages")
    text = (words.FOLDER / "en.toml").read_text(encoding="utf-8").replace('"English"', '"Français"')
    (tmp_path / "languages/fr.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(words, "FOLDER", tmp_path / "languages")
    made = site(claims([tmp_path]))
    assert b'<html lang="fr"' in made["fr/q06.html"] and b'href="../fr/q06.html"' in made["de/q06.html"]


def test_a_later_claim_comes_with_its_file_and_its_result(tmp_path, monkeypatch, toy):
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    (experiments / "q51_warm_up.py").write_text('q = experiment(51, claim="Warming up helps.")(None)\n')
    monkeypatch.setattr(registry, "FOLDERS", [experiments])
    store.write(toy.but(question=51, claim="Warming up helps."), tmp_path)
    made = site(claims([tmp_path]))
    front = made["index.html"].decode()
    later = front[front.index("Later claims") :]
    assert "Warm up" in later and "Ours it is." in later
    assert b"Warming up helps." in made["q51.html"] and "q51.csv" in made
    assert b'"q51-figure"' in made["all.html"]


def test_foreign_text_is_shown_and_not_run(tmp_path, toy):
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    parts = tuple(one.but(says=evil) for one in toy.parts)
    chart = toy.chart.but(title=evil, x_label=evil, series=tuple(one.but(name=evil) for one in toy.chart.series))
    store.write(toy.but(question=6, headline=evil, claim=evil, note=evil, chart=chart, parts=parts), tmp_path)
    made = site(claims([tmp_path]))
    for name in ("index.html", "q06.html", "all.html", "de/q06.html"):
        assert b"<script>alert" not in made[name] and b"<img" not in made[name], name
    assert b"&lt;script&gt;alert(1)" in made["q06.html"]


def test_results_that_cannot_be_trusted_say_so_and_stop_nothing(tmp_path, toy):
    (tmp_path / "q05.full.json").write_text("{", encoding="utf-8")
    _, path = store.write(toy.but(question=6), tmp_path)
    path.write_text(path.read_text().replace("Ours it is.", "Ours it was."), encoding="utf-8")
    made = site(claims([tmp_path, store.SHIPPED]))
    assert b"cannot be read" in made["q05.html"] and "q05.json" not in made
    assert b"does not match its hash" in made["q06.html"] and b"does not match its hash" not in made["q12.html"]
    assert str(tmp_path).encode() not in b"".join(made.values()), "a page names a folder of this machine"


def test_a_table_follows_the_axis_whatever_series_begins():
    rows = [Number("few", "1,881", 1881, 3.3, None, None), Number("many", "257", 257, 3.1, None, None)]
    assert list(table(rows)) == ["257", "1,881"]


def test_an_export_replaces_an_earlier_one_as_a_whole_and_nothing_of_others(tmp_path, toy):
    store.write(toy.but(question=6), tmp_path / "results")
    folder = tmp_path / "site"
    sizes = export(folder, [tmp_path / "results"])
    (folder / "q77.html").write_text("of an earlier export")
    assert export(folder, [tmp_path / "results"]) == sizes
    found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert found == sizes
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        export(folder)
    with pytest.raises(ConfigError, match="would be replaced"):
        export(tmp_path / "results")
    assert (tmp_path / "results/q06.full.json").is_file() and (folder / "notes.txt").is_file()


def test_an_export_that_finds_no_room_leaves_the_earlier_one(tmp_path, toy):
    store.write(toy.but(question=6), tmp_path / "results")

    def exporting() -> None:
        os.chdir(tmp_path)
        sys.argv = ["lmworks", "lab", "--export", "site", "--out", "results"]
        with full_disk(30_000):
            main()

    export(tmp_path / "site", [tmp_path / "results"])
    before = {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()}
    code, said = forked(exporting)
    assert code == 1 and "site: " in said and "Traceback" not in said
    assert {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "site"]


@pytest.mark.parametrize(
    ("rule", "low", "high", "same"),
    [
        ("BLEU, 4 beams minus greedy > 0, margin 0.5 points", 0, None, (-0.5, 0.5)),
        ("tokens kept, a over b > 1, margin 10%", 1, None, (1 / 1.1, 1.1)),
        ("loss, a minus b < -0.25", None, -0.25, None),
        ("time, a over b between 0.9 and 1.1", 0.9, 1.1, None),
    ],
)
def test_the_bounds_of_a_rule_are_read_as_they_are_written(rule, low, high, same):
    found = Bounds.of(rule)
    assert (found.low, found.high) == (low, high) and found.same == (same and pytest.approx(same))


def test_the_bounds_of_every_stored_part_are_known_and_agree_with_its_verdict(stored):
    for finding in stored:
        for part in (*finding.parts, *finding.also):
            bounds = Bounds.of(part.rule)
            assert bounds is not None, part.rule
            if part.figure is None or part.figure.interval is None or part.verdict != "holds":
                continue
            low, high = part.figure.interval
            assert bounds.low is None or low >= bounds.low, part.rule
            assert bounds.high is None or high <= bounds.high, part.rule


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis(-3, 12), [0, 5, 10]),
        (Axis(0.9, 20_000, log=True), [1, 10, 100, 1000, 10_000]),
        (Axis(1.1, 1.3, log=True), [1.1, 1.15, 1.2, 1.25, 1.3]),
    ],
)
def test_ticks_are_round_and_few(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)


def test_numbers_on_an_axis_are_short():
    assert [short(one) for one in (0, 0.25, -2, 1500, 2e6, 1e-5, 1e6)] == [
        "0",
        "0.25",
        "−2",
        "1,500",
        "2×10⁶",
        "10⁻⁵",
        "10⁶",
    ]


def test_chance_and_ideal_are_drawn_or_said(shipped, stored):
    """Where a figure shows measurements with such a level, the page names it beside the chart."""
    named = 0
    for finding in stored:
        rows = list(csv.DictReader(io.StringIO(shipped[f"q{finding.question:02d}.csv"].decode())))
        page = shipped[f"q{finding.question:02d}.html"].decode()
        figure = re.sub(r"<[^>]*>", " ", page[page.index("<figure") : page.index("</figure>")])
        if any(row["chance"] for row in rows):
            assert re.search(r"chance|Chance", figure), finding.question
            named += 1
    assert named > 8


def test_the_json_beside_a_page_is_what_lmworks_reads(shipped):
    assert json.loads(shipped["q06.json"])["question"] == 6


def test_a_new_result_stands_beside_the_stored_one_with_what_differs(tmp_path, toy):
    from lmworks.lab.site.pages import Pages, compared

    other = run_experiment(TOY, "quick", RunOptions(changes=["effect=0.0"]))
    found = compared(toy, other, ["effect"])
    assert found["changed"] == [("effect", "2.0", "0.0")] and found["scaled"] == []
    assert compared(toy, other)["scaled"] == ["effect=0.0"]
    [(says, before, after)] = found["parts"]
    assert (says, before.verdict) == ("ours is better", "holds") and after.verdict != "holds"
    store.write(toy.but(question=6), tmp_path)
    known = claims([tmp_path])
    page = Pages(known, Words.of("en"), served=True).beside(known[5], other.but(question=6), "/x.json", ["effect"])
    assert "<td>2.0</td><td>0.0</td>" in page and "holds → open" in page and "Ours it is." not in page


@pytest.mark.parametrize(("ideal", "said"), [(0.0, ["chance, ideal 0"]), (0.2, ["chance 0", "ideal 0.2"])])
def test_chance_and_the_ideal_at_one_place_are_written_once(ideal, said):
    row = Number("gap", "gap", 0.0, 0.1, None, None, chance=0.0, ideal=ideal)
    levels = drawing._named_levels([row], Axis.over([0.0, 0.1, 0.3]), Words.of("en"))
    assert [one for *_, one in levels] == said


@pytest.mark.parametrize(("level", "place"), [(0.0, "start"), (0.5, "x"), (1.0, "end")])
def test_what_is_written_at_a_level_stays_in_the_frame(level, place):
    assert f'class="level {place}"' in drawing._upright("ideal", level, "ideal", Axis(0.0, 1.0), 100)
