"""/v1/next_token: the distribution after a text, as the engine has it; and answers that go on where they were cut."""

from __future__ import annotations

import math

import pytest

from lmworks.generation.strategies import Sample


def test_the_next_token_is_that_of_the_model_and_its_settings(live):
    said = live.post("/v1/next_token", prompt="hello", temperature=0.5, top_k=3, top=5).json()
    assert said["order"] == list(Sample(temperature=0.5, top_k=3).order) and said["kept"] == 3
    assert said["vocabulary"] == live.service.model.config.vocab_size
    top = said["top"]
    assert len(top) == 5 and [one["p"] for one in top] == sorted((one["p"] for one in top), reverse=True)
    squared = [one["p"] ** 2 for one in top[:3]]  # temperature 1/2
    assert [one["p_chosen"] for one in top[:3]] == pytest.approx([one / sum(squared) for one in squared], rel=1e-4)
    assert [one["p_chosen"] for one in top[3:]] == [0, 0]
    assert said["entropy_chosen"] == pytest.approx(
        -sum(one["p_chosen"] * math.log2(one["p_chosen"]) for one in top[:3]), rel=1e-4
    )
    written = live.post("/v1/completions", prompt="hello", max_tokens=1, temperature=0, logprobs=1).json()["choices"][0]
    assert written["logprobs"]["tokens"][0] == top[0]["token"]
    assert written["logprobs"]["token_logprobs"][0] == pytest.approx(math.log(top[0]["p"]), rel=1e-3)


def test_other_settings_on_the_same_text_and_another_text_give_their_own(live):
    first = live.post("/v1/next_token", prompt="hello").json()
    greedy = live.post("/v1/next_token", prompt="hello", temperature=0).json()
    assert (first["kept"], greedy["kept"]) == (first["vocabulary"], 1) and first["entropy"] == greedy["entropy"]
    assert live.post("/v1/next_token", prompt="hellp").json()["entropy"] != first["entropy"]


def test_what_cannot_be_read_is_said(live):
    assert "shorten it" in live.error("/v1/next_token", prompt="a" * 600)["message"]
    assert live.error("/v1/next_token", prompt="a", top=101)["param"] == "top"
    assert live.error("/v1/next_token", prompt="a", stop="x")["code"] == "unknown_parameter"
    said = live.error("/v1/next_token", prompt="a", logit_bias={"100000": 1})["message"]
    assert said == "logit_bias names the token 100,000, and the vocabulary has 259; leave it out"


def test_an_answer_goes_on_where_it_was_cut(live):
    turns = [{"role": "user", "content": "hi"}]
    letters = {"temperature": 0, "structured_outputs": {"regex": "[a-z]*"}}  # bytes of which each is a character

    def said(most: int, **more: object) -> str:
        body = {"messages": turns, "max_tokens": most, **letters, **more}
        return live.post("/v1/chat/completions", **body).json()["choices"][0]["message"]["content"]

    whole, begun = said(12), said(5)
    assert len(begun) == 5 and len(whole) == 12
    turns.append({"role": "assistant", "content": begun})
    assert begun + said(7, continue_final_message=True, add_generation_prompt=False) == whole


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"continue_final_message": True}, "needs an assistant's text at the end"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt begins one"),
        ({"add_generation_prompt": False}, "with continue_final_message alone"),
    ],
)
def test_settings_of_going_on_that_make_no_sense_are_errors(live, body, said):
    error = live.error("/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], **body)
    assert said in error["message"]
