"""Folders that systems keep for themselves: recycle bins, thumbnails, snapshots. Nobody looks for pictures there."""

_OF_SYSTEMS = frozenset(
    {
        "@eadir",  # Synology: thumbnails
        "@recycle",  # QNAP
        "@recently-snapshot",
        "#recycle",  # Synology
        "#snapshot",
        "$recycle.bin",  # Windows, on every disk that it wrote to
        "system volume information",
        "lost+found",  # ext file systems
    }
)


def is_of_system(name: str) -> bool:
    """Whether a folder of this name is a system's own; upper and lower case are alike."""
    return name.casefold() in _OF_SYSTEMS


def is_no_users(name: str) -> bool:
    """Whether a folder of this name is hidden, or a system's own."""
    return name.startswith(".") or is_of_system(name)
