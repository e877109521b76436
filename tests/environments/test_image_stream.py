from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skimage")

from everystep.core.errors import ConfigError, DataError
from everystep.environments.check import check_environment, format_report
from everystep.environments.images.image_stream import KINDS, ImageStream, corrupted, pool, read_image, shown


@pytest.mark.parametrize("kind", KINDS[:2])
def test_contract(kind: str) -> None:
    report = check_environment(ImageStream(kind=kind, length=12), tasks=2)
    assert report.ok, format_report(report)


def test_pools_share_no_image() -> None:
    names = ("fit", "held", "train", "test")
    images = {one: {image.tobytes() for image in pool(one).image_NHW} for one in names}
    assert sum(map(len, images.values())) == len(set().union(*images.values())) == 1797


@pytest.mark.parametrize("kind", KINDS)
def test_more_severity_is_farther_from_the_image(kind: str) -> None:
    images = pool("test").image_NHW[:40]

    def away(severity: float) -> float:
        random = np.random.default_rng(0)
        made = [corrupted(one, kind, severity, random) for one in images]
        assert all(one.min() >= 0.0 and one.max() <= 1.0 for one in made)
        return float(np.mean([np.abs(one - clean).mean() for one, clean in zip(made, images, strict=True)]))

    assert away(0.0) == 0.0 < away(1.0) < away(3.0) < away(5.0)


def test_an_image_comes_back_from_its_text() -> None:
    image = pool("test").image_NHW[3]
    assert np.abs(read_image(f"Look at this.\n{shown(image)}") - image).max() <= 0.5 / 255
    for broken in ("", "no image", shown(image).replace("00", "xx"), shown(image)[:-3]):
        with pytest.raises(DataError):
            read_image(broken)


def test_severity_rises_and_falls_back() -> None:
    world = ImageStream(length=200, peak=4.0)
    course = [world.severity(place) for place in range(200)]
    assert course[:66] == [0.0] * 66
    assert max(course) == 4.0
    assert course[-1] < 0.2
    with pytest.raises(ConfigError, match="rotation"):
        ImageStream(kind="rotatoin")
