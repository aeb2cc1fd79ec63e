"""The rule that draws the weights of the published models is the one their outputs were made with."""

from __future__ import annotations

import numpy as np
import pytest

from golden import FOLDER, Golden

DRAWN = sorted(path.stem for path in FOLDER.glob("*.json") if "sampling" not in path.stem)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_weights_are_those_of_the_published_run(name: str) -> None:
    golden = Golden(name)
    for tensor, stated in golden.facts["weight_check"].items():
        drawn = golden._draw(tensor, golden.shapes[tensor])
        np.testing.assert_array_equal(drawn.reshape(-1)[:3], np.float32(stated["first3"]), err_msg=tensor)
        assert np.isclose(np.linalg.norm(drawn.astype(np.float64)), stated["l2"], rtol=1e-6), tensor
