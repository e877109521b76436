"""How far each attempt is from the others of its group: a factor on advantages that keeps a policy from writing one thing only (ExIt)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from everystep.core.errors import ConfigError
from everystep.credit.grouping import FloatArray


def centroid_distance(vector_NF: npt.ArrayLike, group_N: Sequence[Hashable]) -> FloatArray:
    """Return the distance of each attempt's vector (an embedding of what it wrote) from its group's mean, scaled inside the group to 0 for the
    nearest and 1 for the farthest.

    Where all are equally far there is nothing to prefer, and all get 1. Multiply advantages by it (Jiang et al. 2025, arXiv:2509.04575); that
    changes their size, so compare at equal root mean square.
    """
    vector_NF = np.asarray(vector_NF, dtype=np.float64)
    if vector_NF.ndim != 2 or len(vector_NF) != len(group_N):
        raise ConfigError(
            f"vectors of shape {vector_NF.shape!r} for {len(group_N)} attempts: expected one row an attempt."
        )
    numbers: dict[Hashable, int] = {}
    id_N = np.array([numbers.setdefault(group, len(numbers)) for group in group_N], dtype=np.int64)
    out_N = np.ones(len(id_N))
    for number in range(len(numbers)):
        inside = id_N == number
        some = vector_NF[inside]
        distance = np.linalg.norm(some - some.mean(axis=0), axis=1)
        low, high = float(distance.min()), float(distance.max())
        if high - low > _SAME * max(1.0, high):
            out_N[inside] = (distance - low) / (high - low)
    return out_N


_SAME = 1e-9
