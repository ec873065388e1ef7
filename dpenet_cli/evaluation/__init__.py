"""Scores and times.

The files in reading order; each imports only from those above it:

    metrics          PSNR and SSIM under named protocols
    set_pictures     the pictures of sets, read
    side_by_side     pictures that hold a pair
    datasets         paired sets and their layouts
    test_sets        the test sets of the field: facts alone
    set_folders      where they lie on this machine
    leakage          backgrounds that two sets share
    demo             pairs made on the spot
    reported_scores  what other methods reported
    pair_sets        pairs to score on, looked through before any work starts
    video_sets       clips to score on: pairs that are the frames of videos
    benchmark        scores of methods on sets of pairs
    flicker          what changes from frame to frame beyond the scene
    video_benchmark  scores of methods on clips
    video_table      what was scored on clips, as rows of text
    methods          weights as methods to score
    result_files     scores as CSV, and restored pictures
    strip_plot       the distribution of scores, as SVG
    html_report      the page that shows a benchmark
    video_report     the same for clips
    speed            times of this machine, as ratios to the reference
    scale_fit        the rule of sizes, fitted to weights on drawn rain
    end_to_end       a photograph and a video from file to file, timed part by part
"""
