"""Makes the clean pictures of ``dpenet_cli/sample/demo``, which ``dpenet benchmark --dataset demo`` draws rain on.

    python tests/make_demo.py

No dependency of dpenet carries photographs at run time, so four lie in the package, at half their size. They are taken
from scikit-image, which gives their terms:

    astronaut    NASA; no known copyright restrictions, released into the public domain
    chelsea      Stefan van der Walt, CC0
    coffee       Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0
    rocket       SpaceX, released into the public domain
"""

from pathlib import Path

import skimage
from PIL import Image

TARGET = Path(__file__).parent.parent / "dpenet_cli/sample/demo"
SOURCES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def main() -> None:
    """Shrink and save."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        photo = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
        small = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS)
        small.save(TARGET / f"{Path(name).stem}.jpg", quality=92, subsampling=0)


if __name__ == "__main__":
    main()
