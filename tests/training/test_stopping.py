import signal
from pathlib import Path

import pytest
from training_runs import small, stored

from dpenet_cli.training.events import Evaluated, Event
from dpenet_cli.training.run import train


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that hang up here")
@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed_costs_nothing(tmp_path: Path, photos: str, pairs: str, *, nohup: bool) -> None:
    def hang_up(event: Event) -> None:
        if isinstance(event, Evaluated) and event.step == 4:
            signal.raise_signal(signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    try:
        reason = train(tmp_path / "run", small(photos, pairs, evaluate_every=4), hang_up)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert reason == ("done" if nohup else "interrupted")
    assert nohup or stored(tmp_path / "run")["position"]["step"] == 4
