"""How large a video's picture is, upright, from its header and its first frame."""

from pathlib import Path

import av

from dpenet_cli.errors import VideoReadError
from dpenet_cli.video.orientation import orientation_of
from dpenet_cli.video.safe_open import open_input
from dpenet_cli.video.scan import video_streams
from dpenet_cli.video.scanned import display_matrix
from dpenet_cli.video.side_data import side_data_of


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels, as the video is shown; None where it does not open as one.

    Args:
        path: a file.
    """
    try:
        with open_input(path) as container:
            stream = next(iter(video_streams(container)), None)
            frame = next(container.decode(stream), None) if stream else None
            if frame is None:
                return None
            orientation = orientation_of(display_matrix(side_data_of(frame)))
            size = frame.width, frame.height
            return size[::-1] if orientation and orientation.sideways else size
    except (VideoReadError, av.FFmpegError):
        return None
