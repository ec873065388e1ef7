"""What neighbouring frames know about the scene behind the rain: frames in, frames and confidence out.

A drop covers a pixel for one frame. Here the frames around each one are aligned with it and asked. There is no codec
and no network in this room. Its files, in reading order:

    order_statistics  per-pixel quantiles of a few pictures
    motion            optical flow, and pictures warped by it
    window            which frames belong together: scenes, cuts, repeats, gaps in time
    objects           what is bright for one frame and is no rain: lights, cars, people, balls
    evidence          how much it rains, and where
    fusion            a frame and its neighbours as one picture, with its confidence
    stream            the same for a whole video, frame by frame
"""
