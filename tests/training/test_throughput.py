import math

import pytest

from dpenet_cli.training import throughput
from dpenet_cli.training.throughput import Throughput


def test_a_report_holds_means_since_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now)
    steps = Throughput(step=10)
    assert not steps.due()
    for loss, crops in ((1.0, 8), (math.nan, 8), (3.0, 8), (2.0, 4)):
        steps.add(loss, crops)
    now += 2.0
    assert steps.due()
    report = steps.report(14, 30, learning_rate=0.5, waited=0.5, trained=7.04)
    assert (report.step, report.steps, report.loss, report.learning_rate) == (14, 30, 2.0, 0.5)
    assert (report.crops_per_second, report.waiting, report.seconds, report.seconds_left) == (14.0, 0.25, 7.0, 8.0)
    planned = steps.report(14, 30, learning_rate=0.5, waited=0.5, trained=7.04, left=3.25)
    assert planned == report._replace(seconds_left=3.2)  # the clock knows better than the speed of the moment
    steps.restart(14)
    assert not steps.due()
    assert math.isnan(steps.report(14, 30, learning_rate=0.5, waited=0.0, trained=7.0).loss)
