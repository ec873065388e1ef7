"""The sizes of inputs that are not worked on, for rows about them."""

import dataclasses
from pathlib import Path

from dpenet_cli.batch.outcomes import Outcome
from dpenet_cli.system.urls import is_url
from dpenet_cli.video.containers import VIDEO_SUFFIXES


def with_size(outcome: Outcome) -> Outcome:
    """The same outcome with the size of its input, read from the head of its file.

    Objects in stores are left alone: asking for each would cost a request.

    Args:
        outcome: of what was not worked on.
    """
    if outcome.size is not None or is_url(outcome.source):
        return outcome
    source = Path(outcome.source)
    if source.suffix.lower() in VIDEO_SUFFIXES:
        from dpenet_cli.video.header_size import header_size
    else:
        from dpenet_cli.images.header_size import header_size
    return dataclasses.replace(outcome, size=header_size(source))
