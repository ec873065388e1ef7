"""A run that version 0.1.0 began goes on. Its text files are in ``run-0.1.0``; its checkpoint is made here as that
version made it."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from conftest import scene, store
from training_runs import ignore, stored

from dpenet_cli.network.checkpoints import read_card
from dpenet_cli.training.run import resume

RUN = Path(__file__).parent / "run-0.1.0"
"""``dpenet train --data photos -o run --init tiny.safetensors --steps 4 --batch 1 --crop 32 --validation 1 --device cpu
--threads 1 --max-minutes 0``: four photographs of 40×50, and a network of 4 channels and one block of each kind."""

FINGERPRINT = "23184d97f2896e67eef15070d8291e70c97c266a5a0869408e48c9558365141b"

SHAPES = {
    "r2net.inconv.weight": (4, 3, 1, 1),
    "r2net.ddrb.0.dconv1.0.weight": (4, 4, 3, 3),
    "r2net.ddrb.0.dconv1.1.weight": (4, 4, 3, 3),
    "r2net.ddrb.0.dconv2.0.weight": (4, 4, 3, 3),
    "r2net.ddrb.0.dconv2.1.weight": (4, 4, 3, 3),
    "r2net.ddrb.0.dconv5.0.weight": (4, 4, 3, 3),
    "r2net.ddrb.0.dconv5.1.weight": (4, 4, 3, 3),
    "r2net.outconv.weight": (3, 4, 1, 1),
    "drnet.inconv.weight": (4, 3, 1, 1),
    "drnet.erpab.0.inconv1.weight": (4, 4, 3, 3),
    "drnet.erpab.0.inconv2.weight": (4, 4, 3, 3),
    "drnet.erpab.0.inconv5.weight": (4, 4, 3, 3),
    "drnet.erpab.0.outconv.weight": (4, 12, 1, 1),
    "drnet.erpab.0.outconv.bias": (4,),
    "drnet.erpab.0.pa.squeeze.weight": (1, 4, 3, 3),
    "drnet.erpab.0.pa.excite.weight": (4, 1, 3, 3),
    "drnet.outconv.weight": (3, 4, 1, 1),
}


def checkpoint() -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    moments = {
        number: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(shape), "exp_avg_sq": torch.full(shape, 1e-6)}
        for number, shape in enumerate(SHAPES.values())
    }
    group = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "amsgrad": False, "maximize": False}
    group |= {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
    group |= {"decoupled_weight_decay": False, "params": list(moments)}
    return {
        "format": 1,
        "position": {"step": 1, "seconds": 0.0177, "best_psnr": 99.0, "evaluated": 1, "failures": 0},
        "model": weights,
        "average": {name: value.clone() for name, value in weights.items()},
        "optimizer": {"state": moments, "param_groups": [group]},
        "data": FINGERPRINT,
    }


@pytest.mark.skipif(os.name == "nt", reason="the pictures' names are hashed as that machine wrote them")
def test_a_run_of_0_1_0_goes_on(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        store(tmp_path / f"photos/{seed}.png", scene(seed)[:40, :50])
    shutil.copy(tiny_weights, "tiny.safetensors")
    shutil.copytree(RUN, "run")
    torch.save(checkpoint(), "run/checkpoint.pt")

    assert resume(Path("run"), {}, ignore) == "done"

    now = stored(Path("run"))
    assert now.keys() == checkpoint().keys()
    assert now["position"]["step"] == 4
    assert now["position"]["best_psnr"] == 99.0  # nothing since was as good
    assert not Path("run/best.safetensors").exists()
    assert float(now["optimizer"]["state"][0]["step"]) == 4
    assert read_card("run/last.safetensors").provenance["step"] == 4
    assert Path("run/data.json").read_text() == (RUN / "data.json").read_text()
    before, after = (json.loads((folder / "options.json").read_text()) for folder in (RUN, Path("run")))
    assert before.items() <= after.items()
    # What version 0.1.0 did not have stays as it was in it.
    added = {name: value for name, value in after.items() if name not in before}
    assert not any(value for name, value in added.items() if name != "l1_weight"), added
    assert added["l1_weight"] == 1.0
    old, new = (
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (RUN, Path("run"))
    )
    assert new[: len(old)] == old
    assert all(event.keys() >= old[3].keys() for event in new if event["event"] == "evaluated")
