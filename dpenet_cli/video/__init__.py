"""A video on disk, cleaned: every frame at its own time, and everything that came with it.

The files in reading order; each imports only from those above it:

    containers       which are read, which are written, and what each can hold
    codecs           who encodes each, and what it holds
    frames           the frame loop, without any codec
    network_tiles    parts of a frame that the network is asked about
    over_time        frames cleaned by their neighbours, and by the network where those don't know
    restoration      what cleans the frames: time, the network, or both
    safe_open        opening a file from a stranger, and nothing that it points to
    hdr              HDR metadata: mastering display and light levels
    colour           colour tags, matrices and pixel formats
    mpegts           the continuity counters of transport streams
    discontinuities  recordings that were joined with cat
    scenes           where scenes begin, and in which size the network sees each
    side_data        what frames carry beside their pixels
    layers           what packets carry beside the picture: transparency, other layers
    scanned          what a pass over a file finds
    scan             one pass over a file: every packet read, every frame decoded
    cut_streams      recordings that end in the middle of a picture
    mp4_boxes        what MP4 files hold outside any stream: logs of dashcams, makers' data
    matroska         what Matroska files hold and libavformat passes over
    unread           what lies in a file and nobody reads
    probe            what a file holds
    orientation      which way is up
    header_size      how large a video's picture is
    readers          frames through OpenCV or PyAV
    encoder          ffmpeg as a child process
    work_folder      work that survives a crash
    segments         frames encoded into it, a file each few seconds
    y4m              raw video in pipes: YUV4MPEG2
    y4m_cleaning     a stream of it, cleaned
    stream_copy      streams that are copied and not re-encoded
    result_header    the head of the final file, and which tags it has no place for
    mux              the final file
    stream_plan      everything that is decided about one stream before the work
    video_task       everything that is decided about one file before the work
    stills           one frame, cleaned among its neighbours
    deraining        one video from its file to its clean file
    estimate         what a video will take
"""
