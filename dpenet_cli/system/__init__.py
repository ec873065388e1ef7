"""What the machine and its user give.

The files in reading order; each imports only from those above it:

    folders    folders that systems keep for themselves
    packages   the line that installs a package, and what it means when one does not load
    atomic     files that appear whole or not at all, and leftovers of runs that were killed
    locks      locks that keep a second run out of a folder
    urls       URLs of objects in stores
    stores     what is asked of object stores, through fsspec
    storage    one door to files on this machine and in stores
    seals      files that say that dpenet wrote them
    line_file  a file of JSON lines that several processes may append to
    outputs    the one rule for files that a command writes, asked before it works
    user_dirs  the folders that a system sets aside for caches and data
    cores      the processor, and the cores that this process may use
    memory     the memory that was used at most
    devices    devices by their names, and what a processor computes with
"""
