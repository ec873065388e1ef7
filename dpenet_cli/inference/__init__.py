"""How the network is run: pictures of any size, on every kind of device.

The files in reading order; each imports only from those above it:

    region           the part of a picture that somebody wants to see; imports nothing heavy
    tiling           how a picture is cut into strips
    backend          what the engine asks of a backend
    row_streaming    the network on bands of rows, from top to bottom: every operation once
    block_streaming  the same for runtimes that take graphs, block by block
    cuda             batches of frames through a GPU: uploads, network and downloads at the same time
    torch            the backend that runs everywhere
    openvino_ir      the network or a block of it as an OpenVINO model, cached once compiled
    openvino         the backend for x86 processors
    select           which backend serves
    frame_batches    a video's frames: batches in flight, turns of several engines
    derainer         the engine: one picture of any size
    multi_gpu        several engines as one: all GPUs of a machine
    resizing         a picture that the network sees in another size
    looks            windows of a picture through the network, in several sizes
    scale_evidence   what these say about the rain, in sums
    scale_rule       which size suits a picture's rain, and whether there is any
    scales           pictures of any number of megapixels, looked at in that size
    parts            a part of a large picture, as it comes out of the whole
    export           the network as a file for other runtimes
"""
