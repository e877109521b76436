"""Tiny models: exact words, exact seeds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.models.template import UNKNOWN, minimal_template
from everystep.models.tiny import Shape, shape_of, tiny_model, tiny_tokenizer

TEXTS = [
    "you see a red_ball 3 steps ahead, 2 aside.\nfront: wall",
    "turn-left",
    'call({"x": [1, 2]})',
    "  odd   spaces\tand\n\n lines ",
    "it's 12 o'clock",
]


@pytest.mark.parametrize("text", TEXTS)
def test_known_texts_decode_to_themselves(text):
    template = minimal_template(tiny_tokenizer(TEXTS))
    assert template.decode(template.encode(text)) == text


@given(
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
    | st.text("a \n", max_size=9)
)
@settings(max_examples=150, deadline=None)
def test_with_characters_every_printable_text_decodes_to_itself(text):
    assert CHARACTERS.decode(CHARACTERS.encode(text)) == text


CHARACTERS = minimal_template(tiny_tokenizer(TEXTS, characters=True))


def test_a_word_has_one_id_wherever_it_stands():
    tokenizer = tiny_tokenizer(["go left\nleft go", "red_ball turn-left"])
    template = minimal_template(tokenizer)
    go, left = template.encode("go left")
    assert template.encode("left go") == (left, go)
    assert template.encode("left") == (left,)
    assert template.encode("go\nleft")[-1] == left
    assert len(template.encode("turn-left")) == len(template.encode("red_ball")) == 1


def test_numbers_are_digits_and_all_are_known():
    template = minimal_template(tiny_tokenizer(["room 3"]))
    assert len(template.encode("9075")) == 4
    assert template.decode(template.encode("room 9075")) == "room 9075"


def test_unknown_words_are_unknown_and_rare_words_can_be_dropped():
    tokenizer = tiny_tokenizer(["a a a b b c"], max_words=2)
    template = minimal_template(tokenizer)
    assert UNKNOWN in template.decode(template.encode("xyzzy"))
    assert UNKNOWN in template.decode(template.encode("c"))
    assert template.decode(template.encode("a b")) == "a b"


def test_the_seed_decides_the_weights_and_nothing_else_moves():
    before = torch.random.get_rng_state()
    one, two, other = (tiny_model(TEXTS, size="0.05M", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    first, second, third = (
        torch.cat([p.flatten() for p in m.network.parameters()]) for m in (one, two, other)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert one.tokenizer.get_vocab() == two.tokenizer.get_vocab()


@pytest.mark.parametrize("size", ["0.05M", "0.1M", "300K", "0.5M", "2M"])
def test_sizes_are_met_within_a_quarter(size):
    target = float(size[:-1]) * {"K": 1e3, "M": 1e6}[size[-1]]
    count = tiny_model(TEXTS, size=size).network.num_parameters()
    assert 0.7 < count / target < 1.3


@pytest.mark.parametrize("size", ["big", "1", "0M", "-1M", "9000M", "nanM"])
def test_a_wrong_size_is_named(size):
    with pytest.raises(ConfigError, match="size"):
        shape_of(size, 100)


def test_shapes_that_cannot_be_and_texts_that_are_missing():
    with pytest.raises(ConfigError, match="divides"):
        tiny_model(TEXTS, size=Shape(layers=1, width=30, heads=4))
    with pytest.raises(ConfigError, match="needs texts"):
        tiny_model(["", " "[:0]])
