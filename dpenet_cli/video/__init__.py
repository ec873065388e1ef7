"""A video on disk, cleaned: every frame at its own time, and everything that came with it.

`prepare` decodes a file once and decides everything, `clean_video` does it. The rooms, in reading order: frames (the
loop, without any codec); opening (input from strangers); colour, hdr; transport, joints, scan, boxes, probe
(what a file holds); orientation; readers (OpenCV, PyAV); encoder (ffmpeg); segments (work that survives a crash);
containers, copies, mux (the final file); strands (one stream's plan), work, estimate.
"""

from dpenet_cli.video.estimate import Estimate, estimate
from dpenet_cli.video.frames import Frame, FrameSink, FrameSource, pump
from dpenet_cli.video.segments import remove_remains
from dpenet_cli.video.work import Work, clean_video, damage, prepare

__all__ = [
    "Estimate",
    "Frame",
    "FrameSink",
    "FrameSource",
    "Work",
    "clean_video",
    "damage",
    "estimate",
    "prepare",
    "pump",
    "remove_remains",
]
