import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_runs import CPU, assert_same, ignore, small, stored

from dpenet_cli.errors import DatasetError
from dpenet_cli.training.data import load_data
from dpenet_cli.training.loader import BatchLoader
from dpenet_cli.training.run import resume, train


def test_a_pack_holds_every_pixel_once_and_gives_the_same_batches(tmp_path: Path, photos: str, pairs: str) -> None:
    plain = load_data(small(photos, pairs, validation=4))
    options = small(photos, pairs, validation=4, pack=str(tmp_path / "all.pack"))
    made, found = load_data(options), load_data(options)
    for data in (made, found):
        assert data.selection == plain.selection
        for own, other in zip(data.pictures, plain.pictures, strict=True):
            assert own[:2] == other[:2]
            assert np.array_equal(own.clean, other.clean)
            assert (own.rainy is None) == (other.rainy is None)
            assert own.rainy is None or np.array_equal(own.rainy, other.rainy)
        loader = BatchLoader(data.pictures, options, CPU, packed=data.packed)
        assert_same(loader.batch(3).rainy, BatchLoader(plain.pictures, options, CPU).batch(3).rainy)
        assert loader.store._pixels.data_ptr() == data.packed.data_ptr()  # nothing was copied
    pixels = load_file(tmp_path / "all.pack")["pixels"]  # as any reader of the format sees it
    assert pixels.shape == (6 * 120 * 130 + 2 * 8 * 60 * 70, 3)
    assert torch.equal(pixels, found.packed)


def test_a_run_with_a_pack_equals_one_without(tmp_path: Path, photos: str) -> None:
    train(tmp_path / "plain", small(photos), ignore)
    for number in range(2):
        train(tmp_path / f"packed{number}", small(photos, pack=str(tmp_path / "p")), ignore)
        assert_same(stored(tmp_path / f"packed{number}"), stored(tmp_path / "plain"))
    train(tmp_path / "parts", small(photos, pack=str(tmp_path / "p")), ignore, max_minutes=0)
    (tmp_path / "p").unlink()
    resume(tmp_path / "parts", {"pack": str(tmp_path / "other")}, ignore)
    assert_same(stored(tmp_path / "parts"), stored(tmp_path / "plain"))


def test_a_pack_of_other_or_changed_pictures_is_refused_and_stays(tmp_path: Path, photos: str, pairs: str) -> None:
    path = tmp_path / "p"
    options = small(photos, pack=str(path))
    load_data(options)
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="holds other pictures"):
        load_data(small(photos, pairs, pack=str(path)))
    os.utime(Path(photos) / "3.png", (1, 1))
    with pytest.raises(DatasetError, match="have changed since"):
        load_data(options)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"mine", b"\xff" * 64, None])
def test_what_is_no_pack_is_refused_and_stays(tmp_path: Path, photos: str, content: bytes | None) -> None:
    path = tmp_path / "p"
    if content is None:  # a pack that was cut off
        load_data(small(photos, pack=str(path)))
        content = path.read_bytes()[:-1000]
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=str(path)):
        load_data(small(photos, pack=str(path)))
    assert path.read_bytes() == content


def test_a_pack_that_cannot_be_written_leaves_nothing(tmp_path: Path, photos: str) -> None:
    with pytest.raises(DatasetError, match="cannot be written.*--pack"):
        load_data(small(photos, pack=str(tmp_path / "nowhere/p")))
    assert not (tmp_path / "nowhere").exists()
