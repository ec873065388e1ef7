"""JPEG's quantisation tables: the standard's, scaled by a quality, and as fine as a source's."""


def _table(rows: str) -> tuple[int, ...]:
    return tuple(int(value) for value in rows.split())


LUMINANCE = _table("""
    16  11  10  16  24  40  51  61
    12  12  14  19  26  58  60  55
    14  13  16  24  40  57  69  56
    14  17  22  29  51  87  80  62
    18  22  37  56  68 109 103  77
    24  35  55  64  81 104 113  92
    49  64  78  87 103 121 120 101
    72  92  95  98 112 100 103  99
""")
"""The luminance table of ITU-T T.81, K.1: 64 values, row by row."""

CHROMINANCE = _table("""
    17  18  24  47  99  99  99  99
    18  21  26  66  99  99  99  99
    24  26  56  99  99  99  99  99
    47  66  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
    99  99  99  99  99  99  99  99
""")
"""The chrominance table of ITU-T T.81, K.2: 64 values, row by row."""

_COARSEST = 92
"""Quality whose tables a JPEG is never coarser than: where rain was taken away, the picture has new values, and tables
as coarse as some sources' would draw blocks into them."""


def gentle_tables(source: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Quantisation tables as fine as the source's and as quality 92, value by value.

    Args:
        source: a table for each component, 64 values each.

    Returns:
        Luminance, and chrominance where there is colour.
    """
    luminance = [min(pair) for pair in zip(_scaled(LUMINANCE, _COARSEST), source[0], strict=True)]
    if len(source) < 3:
        return [luminance]
    standard = _scaled(CHROMINANCE, _COARSEST)
    return [luminance, [min(values) for values in zip(standard, source[1], source[2], strict=True)]]


def _scaled(table: tuple[int, ...], quality: int) -> list[int]:
    """A table at a quality of 50..100, by the formula of the Independent JPEG Group."""
    return [min(max((value * (200 - 2 * quality) + 50) // 100, 1), 255) for value in table]
