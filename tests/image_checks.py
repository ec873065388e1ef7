"""What tests of pictures share: names of formats, a picture written and read again, and what exiftool says."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from dpenet_cli.images.picture import Picture
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode
from dpenet_cli.options import ImageFormat, SaveOptions

PLAIN = SaveOptions()
JPEG, PNG, WEBP, TIFF, BMP, AVIF, HEIC = map(ImageFormat, ["jpeg", "png", "webp", "tiff", "bmp", "avif", "heic"])
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not on PATH")


def again(picture: Picture, image_format: ImageFormat, options: SaveOptions = PLAIN) -> tuple[bytes, Picture]:
    data, _ = encode(picture, image_format, options)
    return data, read(data)


def exiftool(data: bytes, tmp_path: Path, suffix: str) -> dict[str, object]:
    path = tmp_path / f"out.{suffix}"
    path.write_bytes(data)
    out = subprocess.run(["exiftool", "-json", "-G1", "-n", "-a", str(path)], capture_output=True, check=True)
    return json.loads(out.stdout)[0]


def pil(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))
