"""A video on disk, cleaned: every frame at its own time, and everything that came with it.

The files in reading order; each imports only from those above it:

    frames           the frame loop, without any codec
    safe_open        opening a file from a stranger, and nothing that it points to
    hdr              mastering metadata
    yuv              colour tags, matrices and pixel formats
    mpegts           the packet counters of transport streams
    discontinuities  recordings that were joined with cat
    scan             one pass over a file: every packet read, every frame decoded
    mp4_gps          logs that dashcams hide outside any stream
    probe            what a file holds
    orientation      which way is up
    readers          frames through OpenCV or PyAV
    encoder          ffmpeg as a child process
    segments         work that survives a crash
    muxers           the containers that results are written in, and what each can carry
    stream_copy      packets that are copied
    mux              the final file
    stream_plan      everything that is decided about one stream before the work
    deraining        one video from its file to its clean file
    estimate         what a video will take
"""
