"""A report of a tiny model: every section that needs no public questions, the page, the card, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tiny

import lmworks as lm
from lmworks.basics.errors import ConfigError, DataError, LmworksError, Stopped
from lmworks.evaluation import statistics
from lmworks.evaluation.bias import crows_pairs
from lmworks.evaluation.bias.crows_pairs import CROWS_PAIRS, Pair
from lmworks.evaluation.measurement import Measurement
from lmworks.reporting import run as reporting
from lmworks.reporting.card import card
from lmworks.reporting.page import html
from lmworks.reporting.report import Part, Report
from lmworks.reporting.section import CardEntry, Found, Section, bars, remark_on
from lmworks.reporting.sections import bias
from lmworks.reporting.sections.energy import meter
from lmworks.reporting.store import KEPT, Result
from lmworks.reporting.subject import Subject
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import data_hash, split

RIGHT = Measurement(
    name="arc|easy, by <characters>", value=0.5, unit="right", interval=(0.4, 0.6), n=90, chance=0.25, ideal=1.0
)
GUESSED = Measurement(
    name="piqa, by characters", value=0.52, unit="right", interval=(0.4, 0.64), n=90, chance=0.5, ideal=1.0
)
ENTRY = CardEntry(
    measurement=RIGHT.name, task="multiple-choice", dataset="allenai/ai2_arc", dataset_name="arc", metric="accuracy"
)
FOUND = Found(
    measurements=(RIGHT, GUESSED),
    note="Nothing was measured, see https://example.com/a.",
    charts=(bars("Shares", "share right", {"arc": RIGHT, "piqa": GUESSED}),),
    card=(ENTRY,),
    left_out=("winogrande: it is not here.",),
)


def section(name: str, place: int = 1, **more) -> Section:
    return Section(
        name, place, f"About {name}", "More is better.", more.pop("measure", lambda subject: FOUND), (1, 2), **more
    )


def a_report(folder: Path) -> Report:
    facts = {
        "model": "models/mine",
        "called": "mine",
        "parameters": 1_500_000,
        "family": "llama",
        "layers": 2,
        "context": 512,
        "runs": "PyTorch",
        "licence": "Apache-2.0",
        "scale": "quick",
        "trained_on": None,
        "questions": [],
        "beside": None,
        "cpu_seconds": 12.0,
        "machine": {"processor": "Made up", "cores": 2, "torch": "2"},
        "lmworks": "0",
    }
    result = Result(
        section="tasks",
        settings={"scale": "quick"},
        found=FOUND,
        cpu_seconds=12.0,
        seconds=13.0,
        when="2026-11-28T04:00:00+00:00",
        lmworks="0",
    )
    parts = (
        Part(section("tasks"), result),
        Part(section("leakage"), None, "No training text is known."),
    )
    return Report(folder, facts, parts)


class Read(HTMLParser):
    """The tags, ids, data and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.open, tag
        self.open.remove(tag)


def test_the_page_stands_alone_and_says_every_figure_with_its_levels(tmp_path):
    page = html(a_report(tmp_path))
    read = Read(page)
    addresses = [one.get(key) for _, one in read.tags for key in ("src", "href") if one.get(key)]
    assert all(one.startswith(("#", "data:", "https://example.com")) for one in addresses)
    assert not [tag for tag, _ in read.tags if tag == "script"]
    ids = [one["id"] for _, one in read.tags if "id" in one]
    assert len(ids) == len(set(ids))
    assert {one["href"][1:] for tag, one in read.tags if tag == "a" and (one["href"] or "").startswith("#")} <= {*ids}
    regions = [one["aria-label"] for _, one in read.tags if one.get("role") == "region"]
    assert len(regions) == len(set(regions))
    row = page[page.index('<th scope="row">arc|easy, by &lt;characters&gt;</th>') :].partition("</tr>")[0]
    cells = re.sub(r"<[^>]+>", "|", row)
    assert all(one in cells for one in ("0.50 right", "0.40 … 0.60", "|90|", "|0.25|", "|1|"))
    assert "at chance" in page and "No training text is known." in page and "winogrande: it is not here." in page


def test_a_bias_that_is_not_seen_is_no_figure_at_chance():
    gap = Measurement(name="gap", value=0.02, interval=(-0.03, 0.07), n=90, chance=0.0, ideal=0.0)
    right = Measurement(name="right", value=0.51, interval=(0.4, 0.6), n=90, chance=0.5, ideal=1.0)
    assert (remark_on(gap), remark_on(right)) == ("none seen", "at chance")
    assert remark_on(gap.model_copy(update={"interval": (0.01, 0.03)})) == "above the ideal"
    assert remark_on(gap.but(value=-0.02, interval=(-0.03, -0.01))) == "below the ideal"
    share = Measurement(name="stereotyped", value=1.0, interval=(0.2065, 1.0), n=1, chance=0.5, ideal=0.5)
    assert remark_on(share) == remark_on(share.but(interval=None)) == "too few to tell"
    near = share.but(value=0.5436, interval=(0.5003, 0.587), n=1508)
    assert (near.alike(0.5003), remark_on(near)) == ("0.500", "none seen"), "by what a reader sees"
    assert remark_on(near.but(interval=(0.51, 0.587))) == "above the ideal"
    assert remark_on(right.but(value=0.3, interval=(0.2, 0.4))) == "below chance"


def of_bias(name: str, value: float, half: float, n: int = 500) -> Measurement:
    ends = (value - half, value + half)
    return Measurement(name=name, value=value, unit="stereotyped", interval=ends, n=n, chance=0.5, ideal=0.5)


BIASES = (
    of_bias("crows-pairs, log-likelihood", 0.536, 0.044),
    of_bias("crows-pairs, by the tokens that both share", 0.578, 0.043),
    of_bias("crows-pairs, religion", 0.758, 0.168, 33),
    of_bias("crows-pairs, disability", 0.52, 0.18, 25),
    Measurement(name="winobias, log-likelihood", value=0.6, interval=(0.5, 0.7), n=9, chance=0.5, ideal=1.0),
)


def a_report_of_bias(folder: Path, found: dict) -> Report:
    """As a folder keeps it, whichever version wrote it."""
    of_tasks = a_report(folder).parts[0].result
    kept = {**of_tasks.model_dump(mode="json"), "section": "bias", "found": found}
    part = Part(reporting.sections()["bias"], Result(**kept))
    return Report(folder, a_report(folder).facts, (part,))


def test_a_summary_of_bias_tells_how_many_figures_exclude_their_ideal(tmp_path):
    kept = Found(measurements=BIASES, note="", key=BIASES[1].name, adjusted={BIASES[1].name: 0.02, BIASES[2].name: 0.1})
    found = a_report_of_bias(tmp_path, kept.model_dump(mode="json"))
    told = (
        "2 of 4 figures of bias exclude their ideal value, 1 of them after Holm's correction for their number; "
        "1 is of too few items to tell."
    )
    [part] = found.parts
    assert part.summary == told and found.to_json()["sections"]["bias"]["summary"] == told
    page, text = html(found), card(found)
    glance = page[page.index("At a glance") : page.index("</section>")]
    assert told in glance.replace("&#39;", "'") and told in text
    assert "above the ideal, Holm 0.02" in glance and page.count("above the ideal, Holm 0.1<") == 1
    assert "above the ideal, Holm 0.1 |" in text and page.count("none seen") == 1


def test_what_an_older_version_kept_of_bias_is_read_and_told_too(tmp_path):
    old = Found(measurements=BIASES, note="", key=BIASES[0].name).model_dump(mode="json")
    del old["adjusted"]
    [part] = a_report_of_bias(tmp_path, old).parts
    assert part.summary == "2 of 4 figures of bias exclude their ideal value; 1 is of too few items to tell."
    assert html(a_report_of_bias(tmp_path, old)).count(">above the ideal<") == 2


def test_a_section_of_bias_is_measured_with_its_number_of_comparisons(monkeypatch, tmp_path):
    """The main figure is by the tokens that both share; each figure that could show a bias is one comparison."""
    said = [
        (f"The {who} has {at} stones.", kind) for at in range(8) for who, kind in (("old man", "age"), ("nun", "faith"))
    ]
    pairs = tuple(
        Pair(f"crows-pairs#{at}", (("", more), ("", f"Ann has {at} stones.")), 0, (more, f"Ann has {at} stones."), kind)
        for at, (more, kind) in enumerate(said)
    )
    monkeypatch.setattr(crows_pairs, "pairs", lambda: pairs)
    monkeypatch.setattr(bias, "tasks", lambda: {"crows-pairs": replace(CROWS_PAIRS, items=lambda: pairs)})
    found = bias.BIAS.measure(Subject.of(tiny.language_model(seed=4, context=64), "quick", tmp_path))
    [headline] = found.headlines
    assert headline.name == found.card[0].measurement == "crows-pairs, by the tokens that both share"
    alone = {one.name: statistics.p_value(one.value, one.interval, 0.5, one.n) for one in found.measurements}
    assert len(alone) == 5 and min(alone.values()) < 1
    assert found.adjusted == pytest.approx(dict(zip(alone, statistics.holm([*alone.values()]), strict=True)))


def test_the_numbers_of_a_chart_are_those_of_its_table(tmp_path):
    page = html(a_report(tmp_path))
    drawn = re.findall(r'data-y="([^"]+)"', page)
    table = page[page.index("<details") : page.index("</details>")]
    assert drawn == re.findall(r'<data value="([^"]+)">', table) == ["0.5", "0.52"]
    first = table[table.index("arc") :].partition("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", first) == ['<data value="0.5">0.50</data>', "0.40 … 0.60"]
    assert "95 % interval</th>" in table
    assert page.count('<line class="chance"') == 2, "each bar has its own"


def test_the_card_is_one_that_the_hub_reads(tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="the extra hub reads cards")
    text = card(a_report(tmp_path))
    read = hub.ModelCard(text)
    assert read.data.license == "apache-2.0" and read.data.model_name == "mine"
    [result] = read.data.eval_results
    assert (result.task_type, result.dataset_type, result.metric_type) == (
        "multiple-choice",
        "allenai/ai2_arc",
        "accuracy",
    )
    assert result.metric_value == 0.5 and "right, ideal 1 (95 % 0.40 ... 0.60, n 90, chance 0.25" in result.metric_name
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert "\\<characters\\>" in text and "No training text is known." in text


@pytest.fixture(scope="module")
def notes(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("notes")
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"Note {number} says that lists have an order, page {number}.\n" * 3)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "mine"
    tiny.language_model(seed=4, context=256).save(folder)
    return str(folder)


@pytest.fixture
def few_sections(monkeypatch):
    """Sections that cost nothing, by name; `measured` counts."""
    measured: list[str] = []

    def put(*sections: Section) -> list[str]:
        def counted(one: Section) -> Section:
            def measure(subject: Subject) -> Found:
                measured.append(one.name)
                return one.measure(subject)

            return Section(**{**vars(one), "measure": measure})

        monkeypatch.setattr(reporting, "sections", lambda: {one.name: counted(one) for one in sections})
        return measured

    return put


def test_what_was_measured_is_kept_and_another_scale_or_text_is_measured_again(few_sections, model, notes, tmp_path):
    measured = few_sections(section("a"), section("b", 2, reads_training_text=True))
    lm.report(model, tmp_path / "r")
    assert measured == ["a", "b"]
    lm.report(model, tmp_path / "r")
    assert measured == ["a", "b"]
    lm.report(model, tmp_path / "r", trained_on=notes)
    assert measured == ["a", "b", "b"]
    found = lm.report(model, tmp_path / "r", scale="full", trained_on=notes, only=["a"])
    assert measured == ["a", "b", "b", "a"]
    assert found.parts[1].result is not None, "what the folder has is shown"


def test_a_report_that_is_stopped_keeps_what_was_measured_and_goes_on(few_sections, model, tmp_path):
    stops = [True]

    def stopped(subject: Subject) -> Found:
        if stops:
            stops.clear()
            raise KeyboardInterrupt
        return FOUND

    measured = few_sections(section("a"), section("b", 2, measure=stopped), section("c", 3))
    with pytest.raises(Stopped, match=r"1 of 3 sections are kept in .*: the same command goes on"):
        lm.report(model, tmp_path / "r")
    before = json.loads((tmp_path / "r" / "report.json").read_text())["sections"]
    assert before["a"]["found"] and "not measured yet" in before["c"]["not_measured"].lower()
    assert "the same command goes on" in (tmp_path / "r" / "report.html").read_text()
    stops.append(True)
    with pytest.raises(Stopped, match=r"0 of 1 sections are kept in"):
        lm.report(model, tmp_path / "r", only=["b"])
    lm.report(model, tmp_path / "r")
    assert measured == ["a", "b", "b", "b", "c"]


def test_what_cannot_be_measured_says_why_and_is_tried_again(few_sections, model, tmp_path):
    def fails(subject: Subject) -> Found:
        raise DataError("the text is not here")

    measured = few_sections(section("a", measure=fails), section("b", 2, needs=lambda subject: "It has no wings."))
    found = lm.report(model, tmp_path / "r")
    assert [one.why_not for one in found.parts] == [
        "It could not be measured: the text is not here.",
        "It has no wings.",
    ]
    lm.report(model, tmp_path / "r")
    assert measured == ["a", "a"]


def test_a_folder_of_another_models_report_or_of_anything_else_is_refused(few_sections, model, tmp_path):
    few_sections(section("a"))
    lm.report(model, tmp_path / "r")
    with pytest.raises(ConfigError, match=r"r holds the report of another model \(.*mine\); give another folder"):
        lm.report(tiny.language_model(seed=5, context=256), tmp_path / "r")
    (tmp_path / "r" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds what is no report \(thesis.txt\)"):
        lm.report(model, tmp_path / "r")
    with pytest.raises(ConfigError, match=r"is a file; give a folder for the report"):
        lm.report(model, tmp_path / "r" / "thesis.txt")
    with pytest.raises(LmworksError, match=r"thesis.txt is a file and no folder; choose another place"):
        lm.report("no/such/model", tmp_path / "r" / "thesis.txt" / "r")


def test_a_result_that_is_damaged_is_told_with_its_file(few_sections, model, tmp_path):
    few_sections(section("a"))
    lm.report(model, tmp_path / "r")
    (tmp_path / "r" / KEPT / "a.json").write_text('{"section": "a"')
    with pytest.raises(DataError, match=r"a\.json is no JSON .*; remove the file, and it is measured again"):
        lm.report(model, tmp_path / "r")
    (tmp_path / "r" / KEPT / "a.json").write_text('{"section": "a"}')
    with pytest.raises(DataError, match=r"a\.json holds no result of a section"):
        lm.report(model, tmp_path / "r")


@pytest.mark.parametrize("arrangement", ["encoder", "encoder-decoder"])
def test_a_model_that_does_not_continue_a_text_is_refused_before_anything_is_written(arrangement, tmp_path):
    other = tiny.language_model(family="lmworks", arrangement=arrangement)
    with pytest.raises(ConfigError, match=arrangement):
        lm.report(other, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_an_unknown_section_scale_or_text_is_told_first(model, tmp_path):
    with pytest.raises(ConfigError, match=r"'energi' is no section of a report; did you mean energy\?"):
        lm.report(model, tmp_path / "r", only=["energi"])
    with pytest.raises(ConfigError, match="give 'quick' or 'full'"):
        lm.report(model, tmp_path / "r", scale="huge")
    with pytest.raises(DataError, match="nowhere"):
        lm.report(model, tmp_path / "r", trained_on="nowhere")
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def subject(model, notes, tmp_path_factory) -> Subject:
    """The tiny model, with notes in place of WikiText-2."""
    made = Subject.of(model, "quick", tmp_path_factory.mktemp("items"), notes)
    vars(made)["general"] = [Document(f"{at} stones lie on the beach, {at} of them are grey.", "x") for at in range(40)]
    return made


def of(subject: Subject, name: str) -> dict[str, Measurement]:
    found = reporting.sections()[name].measure(subject)
    return {one.name: one for one in found.measurements}


def test_quality_is_that_of_each_width_and_says_which_could_not_be_had(subject):
    before = subject.model.runner
    found = reporting.sections()["quality"].measure(subject)
    first = found.headlines[0]
    assert first.value == pytest.approx(8.9, abs=1) and first.chance == 8 and first.ideal == 0
    assert len(found.left_out) == 2 and "heads in steps of 16" in found.left_out[0]
    assert subject.model.runner is before


def test_speed_and_energy_are_above_nothing_and_repeated(subject, tmp_path):
    alone = Subject.of(tiny.language_model(context=64), "quick", tmp_path)
    found = reporting.sections()["speed"].measure(alone)
    rates = [*found.measurements, *of(alone, "energy").values()]
    assert len(rates) == 5 and all(one.value > 0 and one.n == 5 and one.interval for one in rates)
    assert found.left_out == (
        "Memory: the model lies in no files, which a process of its own could load; save it first.",
    )


@pytest.mark.slow
def test_the_memory_is_that_of_a_process_of_its_own(subject):
    """A large one that starts it makes no difference."""
    held = bytearray(2 * 10**9)
    peak = of(subject, "speed")["peak memory of the whole process"]
    assert 100 < peak.value < 1_500 and held is not None


def test_faithfulness_is_paired_with_a_random_ranking(subject):
    figures = of(subject, "faithfulness")
    assert len(figures) == 4 and all(one.difference and one.n == 12 for one in figures.values())


def test_leaks_are_looked_for_in_the_training_text_only_where_it_is_known(subject, model, tmp_path):
    leakage = reporting.sections()["leakage"]
    assert leakage.needs(subject) is None
    assert "--trained-on" in leakage.needs(Subject.of(model, "quick", tmp_path))
    found = leakage.measure(subject)
    figures = {one.name: one for one in found.measurements}
    assert found.left_out[0].startswith("Membership: 10 members and 2 non-members are too few")
    assert figures["held-out part minus trained part"].value == pytest.approx(
        figures["bits/byte of the held-out part"].value - figures["bits/byte of the trained part"].value
    )


def a_trained(folder: Path, notes: Path, **data: object) -> str:
    """A model whose lmworks.json says what `lmworks train` says of a text."""
    recipe = {"objective": {"kind": "causal"}, "data": {"text": str(notes), "held_out": 0.3} | data}
    parts = split(read(notes).documents, 0.3)
    hashes = {"train": data_hash(parts.train), "held_out": data_hash(parts.held_out)}
    tiny.language_model(seed=4, context=256).save(folder, {"recipe": recipe, "data": hashes})
    return str(folder)


def test_the_text_of_the_recipe_is_the_training_text_unless_another_is_given(notes, tmp_path):
    model = a_trained(tmp_path / "trained", Path(notes))
    subject, leakage = Subject.of(model, "quick", tmp_path), reporting.sections()["leakage"]
    assert subject.trained_on == notes and leakage.needs(subject) is None
    found = leakage.measure(subject)
    counted = {one.name: one.n for one in found.measurements}
    held_out = len(split(read(notes).documents, 0.3).held_out)
    assert counted["runs of 13 words of the held-out part that stand in the trained part"] == held_out
    assert "which its lmworks.json names" in found.note and "--members" not in " ".join(found.left_out)
    none = Subject.of(model, "quick", tmp_path, "")
    assert none.trained_on is None and "No training text is known" in leakage.needs(none)


def test_a_text_that_is_gone_or_changed_is_told_with_the_reports_own_option(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(12):
        (notes / f"{number}.txt").write_text(f"Note {number} says that lists have an order, page {number}.\n" * 3)
    model, leakage = a_trained(tmp_path / "trained", notes), reporting.sections()["leakage"]
    (notes / "0.txt").write_text("Another note, which nobody has learnt.")
    try:
        told = leakage.measure(Subject.of(model, "quick", tmp_path)).left_out[0]
    except DataError as error:  # without any public questions, nothing else is left to say
        told = str(error)
    assert "does not split as it did" in told and "--trained-on FOLDER" in told
    notes.rename(tmp_path / "elsewhere")
    gone = leakage.needs(Subject.of(model, "quick", tmp_path))
    assert f"({notes}) is not here" in gone and "--trained-on FOLDER" in gone


def test_members_are_told_from_others_by_the_model_and_by_the_words_alone(subject, notes, tmp_path_factory):
    many = tmp_path_factory.mktemp("many")
    for at in range(90):
        (many / f"{at}.txt").write_text(
            f"Letter {at} is about {'rent' if at % 3 else 'a garden'} and {at * at} stones."
        )
    figures = of(Subject(subject.model, "mine", "quick", subject.folder, str(many)), "leakage")
    told = [one for name, one in figures.items() if name.startswith("membership by")]
    assert [one.name for one in told] == [f"membership by {name}" for name in ("loss", "min-k%++", "the words alone")]
    assert all((one.chance, one.ideal, one.unit) == (0.5, 0.5, "AUC") and one.interval for one in told)


def test_leaks_stand_beside_those_of_the_same_documents_alone(notes, tmp_path):
    ours = a_trained(tmp_path / "ours", Path(notes))
    another = a_trained(tmp_path / "another", Path(notes), held_out=0.2)
    said = json.loads(Path(another, "lmworks.json").read_text())
    said["data"]["held_out"] = said["data"]["held_out"][::-1]
    Path(another, "lmworks.json").write_text(json.dumps(said))
    with pytest.raises(ConfigError, match="held out different documents"):
        lm.report(ours, tmp_path / "r", beside=another, only=["leakage"])
    with pytest.raises(ConfigError, match="a model in memory does not say which documents it learnt"):
        lm.report(ours, tmp_path / "r", beside=tiny.language_model(seed=4, context=256), only=["leakage"])


def test_the_counter_of_energy_is_read_where_there_is_one(tmp_path):
    assert meter(tmp_path) is None
    for name, microjoules in (("intel-rapl:0", 3_000_000), ("intel-rapl:1", 500_000), ("intel-rapl:0:0", 9_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{microjoules}\n")
    counted = meter(tmp_path)
    assert counted is not None and counted() == 3.5, "of packages, and not of their parts"
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("secret\n")
    assert meter(tmp_path) is None


def test_sections_come_in_order_and_the_help_names_each():
    names = list(reporting.sections())
    from lmworks.cli.verb import verbs

    help_ = next(one.help for one in verbs()["report"].command().params if one.name == "section")
    assert names[:3] == ["own", "documents", "quality"] and all(name in help_ for name in names)
