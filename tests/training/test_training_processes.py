import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from training_runs import CPU, small, training_pictures

from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.training import trainer
from dpenet_cli.training.loader import BatchLoader
from dpenet_cli.training.losses import general_loss

TWO_PROCESSES = """
import sys, torch
sys.path[:0] = {path!r}
from training_runs import CPU, small, training_pictures
from dpenet_cli.training.losses import general_loss
from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.training.loader import BatchLoader
from dpenet_cli.training.parallel import process_group
torch.set_num_threads(1)
with process_group(CPU) as processes:
    torch.manual_seed(7)
    model = DPENet(DPENetConfig(n_ddrb=2, n_erpab=1))
    batch = BatchLoader(training_pictures(4), small("x"), CPU, processes.rank, processes.world_size).batch(3)
    network = processes.wrap(model)
    general_loss(network(batch.rainy), batch.clean).backward()
    if processes.first:
        torch.save([p.grad for p in model.parameters()], {out!r})
"""


def test_two_processes_give_the_gradients_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    out = str(tmp_path / "gradients.pt")
    folders = [Path(__file__).parents[1], Path(__file__).parent, Path(trainer.__file__).parents[2]]
    script = TWO_PROCESSES.format(path=[str(folder) for folder in folders], out=out)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = [
        subprocess.Popen([sys.executable, "-c", script], env=os.environ | own | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    try:
        assert [child.wait(timeout=60) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    torch.manual_seed(7)
    model = DPENet(DPENetConfig(n_ddrb=2, n_erpab=1))
    batches = [BatchLoader(training_pictures(4), small("x"), CPU, rank, 2).batch(3) for rank in (0, 1)]
    rainy, target = (torch.cat([batch[part] for batch in batches]) for part in (0, 1))
    general_loss(model(rainy), target).backward()
    for parameter, theirs in zip(model.parameters(), torch.load(out), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, theirs, rtol=1e-4, atol=1e-6)
        assert float(theirs.abs().sum()) > 0
