"""Relations that were found in text are asked for in both ways, as the question's form says, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

import lmworks as lm
from lmworks.grounding.graph.direction import RELATIONS
from lmworks.grounding.graph.graph import Graph
from lmworks.grounding.graph.store import load

FACTS = {
    "Cause-Effect": ("fire", "power cut"),
    "Component-Whole": ("engine", "car"),
    "Content-Container": ("milk", "bottle"),
    "Member-Collection": ("singer", "choir"),
    "Message-Topic": ("letter", "harvest"),
    "Product-Producer": ("dynamite", "Nobel"),
}
"""One of each relation; all of them between things, so that only the question tells which way is meant."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Graph:
    folder: Path = tmp_path_factory.mktemp("found")
    base, rdfs = "urn:lmworks:found", "http://www.w3.org/2000/01/rdf-schema#"
    also = "http://www.w3.org/2004/02/skos/core#altLabel"
    lines = [f'<{base}:kind:thing> <{rdfs}label> "thing" .']
    for relation, parts in FACTS.items():
        prop, (label, words) = f"<{base}:property:{relation}>", RELATIONS[relation]
        lines.append(f'{prop} <{rdfs}label> "{label}" .')
        lines += [f'{prop} <{also}> "{word}" .' for word in words]
        nodes = [f"<{base}:entity:{part.replace(' ', '%20')}>" for part in parts]
        lines.append(f"{nodes[0]} {prop} {nodes[1]} .")
        for node, part in zip(nodes, parts, strict=True):
            lines += [f'{node} <{rdfs}label> "{part}" .', f"{node} a <{base}:kind:thing> ."]
    (folder / "found.ttl").write_text("\n".join(lines))
    load(folder / "found.ttl", folder / "graph", embedder=None)
    return lm.graph(folder / "graph")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What caused the power cut?", "fire"),
        ("What did the fire cause?", "power cut"),
        ("What was caused by the fire?", "power cut"),
        ("What was the power cut caused by?", "fire"),
        ("By what was the power cut caused?", "fire"),
        ("What is the cause of the power cut?", "fire"),
        ("What is the power cut's cause?", "fire"),
        ("What is the effect of the fire?", "power cut"),
        ("What is the fire's effect?", "power cut"),
        ("What effect did the fire have?", "power cut"),
        ("What has the effect power cut?", "fire"),
        ("What led to the power cut?", "fire"),
        ("What did the fire lead to?", "power cut"),
        ("Did the fire cause the power cut?", "yes"),
        ("Was the power cut caused by the fire?", "yes"),
        ("Is the fire the cause of the power cut?", "yes"),
        ("What is the engine part of?", "car"),
        ("What is part of the car?", "engine"),
        ("What does the bottle contain?", "milk"),
        ("What contains milk?", "bottle"),
        ("What is the milk contained in?", "bottle"),
        ("What is inside the bottle?", "milk"),
        ("Who is a member of the choir?", "singer"),
        ("What is the singer a member of?", "choir"),
        ("What is the letter about?", "harvest"),
        ("What is described by the letter?", "harvest"),
        ("What describes the harvest?", "letter"),
        ("Who made dynamite?", "Nobel"),
        ("Who was dynamite invented by?", "Nobel"),
        ("What did Nobel make?", "dynamite"),
        ("What was made by Nobel?", "dynamite"),
        ("Who is the producer of dynamite?", "Nobel"),
    ],
)
def test_each_form_leads_the_way_that_it_says(graph, question, answer):
    found = graph.ask(question)
    assert (found.text, found.refused) == (answer, False), found.read_as or found.reason


@pytest.mark.parametrize(
    "question",
    [
        "What did the power cut cause?",
        "What caused the fire?",
        "What is the cause of the fire?",
        "What is the effect of the power cut?",
        "What was caused by the power cut?",
        "Did the power cut cause the fire?",
        "Is the power cut the cause of the fire?",
        "What does the milk contain?",
        "What is part of the engine?",
        "What did the dynamite produce?",
        "Who was Nobel made by?",
        "What caused the cause of the power cut?",
        "What was made in Nobel?",
        "What resulted from the fire?",
        "What triggered the power cut?",
    ],
)
def test_the_other_way_is_refused_and_so_is_what_does_not_tell(graph, question):
    found = graph.ask(question)
    assert found.refused, (found.text, found.read_as)
