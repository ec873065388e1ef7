import subprocess
import sys

import pytest

CODE = """
import resource, torch
from dpenet_cli.system.memory import keep_freed_memory
torch.set_num_threads(1)
kept = keep_freed_memory()
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(4_000_000)  # 16 megabytes, freed at once: 4,000 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(3)
print(int(kept), faults(20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is asked")
def test_freed_memory_is_used_again_instead_of_being_mapped_anew() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    kept, faults = map(int, run.stdout.split())
    assert not kept or faults < 40_000  # twice as many otherwise
