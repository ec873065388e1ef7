"""dpenet for programs: pictures as arrays, files and videos, without a command line. Nothing is printed.

The files in reading order; each imports only from those above it:

    kinds   the kinds of arrays and pictures that a program may hand over
    derain  `load`: the network, ready to clean any of them
    files   `clean_file`, `clean_video`: as the commands do it
"""
