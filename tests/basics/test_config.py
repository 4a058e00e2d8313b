"""Settings that make no sense are one sentence, whatever was typed."""

from __future__ import annotations

import pytest

from lmworks.basics.config import Config, overrides, read_toml
from lmworks.basics.errors import ConfigError
from lmworks.training.settings import TrainingConfig


class Shape(Config):
    depth: int = 1
    rate: float | None = 1.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [("9" * 5000, "a number has thousands of digits"), ("[" * 5000, "its lists or tables are nested too deeply")],
)
def test_what_pythons_parser_gives_up_on_is_no_toml(text, reason, tmp_path):
    (tmp_path / "recipe.toml").write_text(f"depth = {text}\n")
    with pytest.raises(ConfigError, match=rf"recipe\.toml is not a TOML file: {reason}$"):
        read_toml(tmp_path / "recipe.toml")
    with pytest.raises(ConfigError, match=r"depth is '.{79}… \(5,002 characters\); it should be a (whole|smaller)"):
        Shape(**overrides([f"depth={text}"]))


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_no_setting_is_infinite(value):
    with pytest.raises(ConfigError, match=r"rate is -?(inf|nan); it should be a finite number"):
        Shape(**overrides([f"rate={value}"]))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("rate=1e308", r"rate is 1e\+308; it should be less than 1.7e\+38 in size"),
        ("depth=" + "9" * 4000, r"depth is 9{80}… \(4,000 characters\); it should be less than 9.2e\+18 in size"),
    ],
)
def test_no_number_is_larger_than_a_network_holds(value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Shape(**overrides([value]))


def test_a_learning_rate_that_no_training_survives_is_refused():
    with pytest.raises(ConfigError, match=r"learning_rate is 1e\+39; it should be less than 1.7e\+38 in size"):
        TrainingConfig(learning_rate=1e39)
    with pytest.raises(ConfigError, match=r"learning_rate is inf"):
        TrainingConfig(learning_rate=float("inf"))


def test_a_list_of_words_needs_no_quotes_which_a_shell_takes_away():
    given = ["kinds=[email, ip]", "one=[a.b-c]", 'quoted=["a b", "c"]', "numbers=[1,2]", "name=[a b]", "open=[a,"]
    assert overrides(given) == {
        "kinds": ["email", "ip"],
        "one": ["a.b-c"],
        "quoted": ["a b", "c"],
        "numbers": [1, 2],
        "name": "[a b]",
        "open": "[a,",
    }
