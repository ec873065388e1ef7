"""Whether what writes a format is installed, asked before anything is done for a picture, and before all of them."""

from dpenet_cli.errors import ImageWriteError
from dpenet_cli.options import ImageFormat
from dpenet_cli.system.packages import pip_install

NAMES = {
    ImageFormat.JPEG: "JPEG",
    ImageFormat.PNG: "PNG",
    ImageFormat.WEBP: "WebP",
    ImageFormat.TIFF: "TIFF",
    ImageFormat.BMP: "BMP",
    ImageFormat.AVIF: "AVIF",
    ImageFormat.HEIC: "HEIC",
}
"""Each format as people write it."""

_STEP = "Install the package that PyPI has, or choose another format."


def check_writer(image_format: ImageFormat | None) -> None:
    """Whether something here writes a format; None, which is that of the input, is not asked about.

    Raises:
        ImageWriteError: nothing does.
    """
    if image_format is ImageFormat.HEIC:
        try:
            import pillow_heif
        except ImportError as error:
            raise ImageWriteError(
                "a HEIC picture", "pillow-heif, which writes it, is not installed", f"Run: {pip_install('heic')}"
            ) from error
        if not pillow_heif.libheif_info()["HEIF"]:
            why = "the pillow-heif that is installed was built without what writes it"
            raise ImageWriteError("a HEIC picture", why, _STEP)
    if image_format in {ImageFormat.WEBP, ImageFormat.AVIF}:
        from PIL import features

        if not features.check(image_format.value):
            name = NAMES[image_format]
            raise ImageWriteError(f"a {name} picture", f"the Pillow that is installed was built without {name}", _STEP)
