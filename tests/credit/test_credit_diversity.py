"""Distance from the group's centroid as a factor on advantages."""

from __future__ import annotations

import numpy as np
import pytest

from everystep.core.errors import ConfigError
from everystep.credit.diversity import centroid_distance


def test_the_nearest_gets_0_and_the_farthest_1_inside_each_group() -> None:
    vectors = [[0, 0], [0, 0], [3, 0], [9, 9], [9, 9]]
    # centroid of the first group (1, 0): distances 1, 1, 2; the second group is all alike
    assert centroid_distance(vectors, ["a", "a", "a", "b", "b"]).tolist() == [0, 0, 1, 1, 1]


def test_it_is_scaled_between_nearest_and_farthest() -> None:
    found = centroid_distance([[0.0], [1.0], [2.0], [7.0]], ["g"] * 4)  # centroid 2.5: 2.5, 1.5, 0.5, 4.5
    assert found.tolist() == pytest.approx([0.5, 0.25, 0.0, 1.0])


def test_rounding_does_not_make_equals_differ() -> None:
    rng = np.random.default_rng(0)
    point = rng.normal(size=5) * 1e3
    assert centroid_distance(np.tile(point, (7, 1)), ["g"] * 7).tolist() == [1.0] * 7


def test_shapes_are_checked() -> None:
    with pytest.raises(ConfigError, match="one row an attempt"):
        centroid_distance([[1.0]], ["a", "b"])
