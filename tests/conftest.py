"""What the tests share: the evaluation data where they are, small networks, and the installed command."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command does, and before torch is imported
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # Processes that share the cores: more threads than cores would wait for each other hundreds of times a picture.
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // workers, 1)))

import hypothesis
import numpy as np
import pytest
import torch
from forked_command import Forks
from PIL import Image
from scipy.ndimage import gaussian_filter

import dpenet_cli
from dpenet_cli.batch.pictures import Clean
from dpenet_cli.inference.scale_rule import Choice, Cleaned
from dpenet_cli.network.checkpoints import WeightsCard, save_model
from dpenet_cli.network.model import DPENet, DPENetConfig

hypothesis.settings.register_profile("dpenet", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("dpenet")

TINY = DPENetConfig(channels=4, n_ddrb=1, n_erpab=1)


def lively_model(config: DPENetConfig, seed: int = 0) -> DPENet:
    """A random network whose outputs depend on all of their receptive field, and strongly.

    Small random weights let the far context fade away, and a tiling mistake with it. These keep the signal's size.
    """
    generator = torch.Generator().manual_seed(seed)
    model = DPENet(config)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter[0].numel() if parameter.ndim == 4 else parameter.numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (1.0 / fan_in) ** 0.5)
    return model.eval().requires_grad_(requires_grad=False)


def as_cleaner(clean: Callable[[np.ndarray], np.ndarray]) -> Clean:
    """A function of pixels as what a batch of pictures wants, without any look at them."""
    return lambda rainy, *, skip_dry: Cleaned(clean(rainy), Choice(1.0))


@pytest.fixture(scope="session")
def data() -> Path:
    """The evaluation data, named by DPENET_TEST_DATA."""
    folder = os.environ.get("DPENET_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DPENET_TEST_DATA does not name the folder of evaluation data")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a network that takes milliseconds."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(lively_model(TINY), path, WeightsCard(name="tiny"))
    return path


@pytest.fixture(scope="session")
def rainy_photo() -> np.ndarray:
    """A picture with structure in every channel, 90×120×3 uint8."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC))


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user for whom the system names no home folder, as in some containers."""
    pwd = pytest.importorskip("pwd")

    def nobody(_: int) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def dpenet(*arguments: object, cwd: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command, as a user does; where nothing hinders it, with its imports done (`Forks`)."""
    if not options and hasattr(os, "fork"):
        forks = _forks()
        same = {**os.environ, "PYTEST_CURRENT_TEST": ""} == {**forks.environment, "PYTEST_CURRENT_TEST": ""}
        if same:
            return forks.run([*map(str, arguments)], cwd, 300)
    options = {"capture_output": True, "text": True, "timeout": 300} | options
    return subprocess.run([command(), *map(str, arguments)], cwd=cwd, check=False, **options)


@cache
def _forks() -> Forks:
    return Forks(command())


def command() -> str:
    """Path of the installed ``dpenet``."""
    found = shutil.which("dpenet", path=str(Path(sys.executable).parent)) or shutil.which("dpenet")
    assert found, "the package is not installed: pip install -e ."
    return found


def heavy_imports(module: str) -> set[str]:
    """Which heavy packages a module brings in."""
    code = f"import sys, {module}; print(*{{'torch', 'numpy', 'PIL', 'cv2', 'av'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def textured(seed: int = 0, height: int = 120, width: int = 136) -> np.ndarray:
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(size=(height, width, 3)), (s, s, 0)) * s * 40 for s in (1, 4, 12)]
    return (128 + sum(layers)).clip(0, 255).astype(np.uint8)


def scene(seed: int) -> np.ndarray:
    """Overlapping rectangles: corners for features to be found at."""
    rng = np.random.default_rng(seed)
    picture = np.full((200, 260, 3), 128.0)
    for _ in range(60):
        top, left = rng.integers(0, 190), rng.integers(0, 250)
        picture[top : top + rng.integers(5, 60), left : left + rng.integers(5, 60)] = rng.uniform(0, 255, 3)
    return gaussian_filter(picture, (0.7, 0.7, 0)).astype(np.uint8)


def sample_picture() -> np.ndarray:
    """The rainy picture that ships with dpenet, 427×640×3 uint8."""
    return np.asarray(Image.open(Path(dpenet_cli.__file__).parent / "sample" / "rainy.jpg").convert("RGB"))


def picture(height, width, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def store(path: Path, picture: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return picture


def touch(*names: str) -> None:
    """Empty files, and their folders."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def make_set(folder: Path, count: int = 3) -> None:
    """Pairs of 40×48 pictures in input/ and target/."""
    for number in range(count):
        clean = store(folder / f"target/{number}.png", textured(number, 40, 48))
        noise = np.random.default_rng(number).normal(0, 5 + 5 * number, clean.shape)
        store(folder / f"input/{number}.png", (clean + noise).clip(0, 255).astype(np.uint8))


def make_clip(
    folder: Path, count: int = 4, height: int = 40, width: int = 48, rainy: str = "input", clean: str = "target"
) -> None:
    """A texture that moves by a column a frame, and the same with bright specks; names count from 8: 8, 9, 10, 11."""
    picture, rng = textured(0, 120, 136), np.random.default_rng(count)
    for number in range(count):
        truth = store(folder / clean / f"{number + 8}.png", picture[:height, number : number + width])
        specks = rng.random((height, width, 1)) < 0.02 * (number + 1)
        store(folder / rainy / f"{number + 8}.png", np.where(specks, 250, truth).astype(np.uint8))


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """A folder of test sets with three pairs of one of them."""
    make_set(tmp_path / "sets/Rain_100L")
    return tmp_path / "sets"


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """A folder of six clean pictures to train on."""
    for seed in range(6):
        store(tmp_path / f"photos/{seed}.png", scene(seed)[:120, :130])
    return str(tmp_path / "photos")


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """A folder of eight pairs to train on."""
    for seed in range(10, 18):
        clean = np.minimum(store(tmp_path / f"pairs/target/{seed}.png", scene(seed)[:60, :70]), 235)
        store(tmp_path / f"pairs/input/{seed}.png", clean + 20)
    return str(tmp_path / "pairs")
