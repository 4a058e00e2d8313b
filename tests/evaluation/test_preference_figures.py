"""What is said of pairs of answers, from their log-probabilities before and after."""

from __future__ import annotations

import numpy as np

from lmworks.evaluation.preferences import Judged, figures


def test_pairs_that_all_stay_as_they_were_may_hide_a_change():
    before, after = np.array([[-3.0, -4.0]] * 4), np.array([[-2.5, -6.0]] * 4)
    found = {one.name: one for one in figures(Judged(before, after, np.ones((4, 2)), np.full((4, 2), 5.0)))}
    assert found["chosen preferred, after"].value == found["chosen rewarded more"].value == 1.0
    change = found["chosen preferred, change"]
    assert change.value == 0 and change.interval is not None and change.interval[0] < -0.4 < 0.4 < change.interval[1]
    assert abs(found["reward margin"].value - 2.5) < 1e-9
