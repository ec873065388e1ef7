"""A picture on disk: its pixels, bit depth, transparency, and what its file says of them.

`read` turns a file into a `Picture`, `with_pixels` puts clean pixels into it, and `encode` turns that into bytes.
Nothing of the picture is lost in between, or a notice says so.

The rooms, in reading order: formats, picture; directory and exif (TIFF structures, in EXIF and in files); jpeg, png,
tiff and containers (what each kind of file says beside its pixels); colour, pixels, decoders, reading; tiff_file,
encoders, writing; compare.
"""

from dpenet_cli.images.formats import PICTURE_SUFFIXES, RAW_SUFFIXES, format_for
from dpenet_cli.images.picture import Coding, Metadata, Picture, with_pixels
from dpenet_cli.images.reading import read
from dpenet_cli.images.writing import encode

__all__ = [
    "PICTURE_SUFFIXES",
    "RAW_SUFFIXES",
    "Coding",
    "Metadata",
    "Picture",
    "encode",
    "format_for",
    "read",
    "with_pixels",
]
