"""What can go wrong for a user, drawn as a tree. Every message says what happened, why, and what to do next.

    DpenetError
    ├── OptionError      a value that cannot be honoured (a tile of 0, a strength of 2)
    ├── InputError       the inputs as a whole: nothing found, two inputs for one output
    ├── DatasetError     a folder of pairs or pictures to learn from: no known layout, no partner, wrong sizes
    │   └── BadFilesError     files of it that cannot be learnt from, all of them at once
    ├── TrainingError    a training run that cannot start or go on
    ├── WeightsError     a weights file that is missing, foreign, damaged or hostile
    ├── DownloadError    published weights that could not be fetched, or are not what was published
    ├── ExportError      a file for another runtime that cannot be made, or is not what it should be
    ├── StorageError     a disk or a share that is full or went away: the same command goes on when it is back
    ├── UnexpectedError  something that nobody foresaw: one input's failure, and ours
    ├── DeviceError      a device, precision or runtime that this machine lacks, or that ran out of memory
    ├── PackageError     a package that is missing, or that does not load on this system
    ├── ImageError       one picture
    │   ├── ImageReadError    cannot be decoded
    │   ├── ImageRefused      could be decoded, but not without losing something of it
    │   └── ImageWriteError   cannot be encoded or stored
    └── VideoError       one video
        ├── VideoReadError    cannot be decoded, or not whole
        ├── VideoRefused      could be decoded, but not without losing something of it
        └── VideoWriteError   cannot be encoded, stored, or is not what it should be

The library raises these and prints nothing; the command line prints them and turns them into exit codes.
"""

from collections.abc import Mapping


class DpenetError(Exception):
    """Base of every error that a user can cause or mend.

    Args:
        what: the thing that failed, as the user knows it (a path, an option).
        why: the reason, as a clause without a full stop.
        next_step: what to do about it, as a sentence.
    """

    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(what, why, next_step)
        self.what = what
        self.why = why
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}: {self.why}. {self.next_step}"


class OptionError(DpenetError):
    """An option whose value cannot be honoured."""


class InputError(DpenetError):
    """The inputs as a whole: nothing to do, or two of them that would write one output."""


class DatasetError(DpenetError):
    """A folder of pairs or of clean pictures that has no known layout, lacks partners, or holds unequal sizes."""


class BadFilesError(DatasetError):
    """Files that cannot be learnt from.

    Args:
        what: as for all errors, as are the next two.
        why: see there.
        next_step: see there.
        files: why each file will not do, by its path.
    """

    def __init__(self, what: str, why: str, next_step: str, files: Mapping[str, str]) -> None:
        super().__init__(what, why, next_step)
        self.files = dict(files)


class TrainingError(DpenetError):
    """A training run that cannot start, cannot be resumed, or whose loss is no longer a number."""


class WeightsError(DpenetError):
    """A weights file that is missing, truncated, foreign, damaged or hostile."""


class DownloadError(DpenetError):
    """Published weights that could not be fetched, or that are not what was published."""


class StorageError(DpenetError):
    """A disk or a share that is full, or that went away: nothing else can be done until it is back."""


class UnexpectedError(DpenetError):
    """Something that nobody foresaw, with one input; the others go on."""


class ExportError(DpenetError):
    """A file for another runtime that cannot be made or stored, or does not give what the network gives."""


class DeviceError(DpenetError):
    """A device, precision or runtime that is not available here, or a device that ran out of memory."""


class PackageError(DpenetError):
    """A package that is not installed, or that does not load on this system: a library of it is missing, say."""


class ImageError(DpenetError):
    """One picture that cannot be handled; the others go on."""


class ImageReadError(ImageError):
    """The file is not a picture, or its data are damaged."""


class ImageRefused(ImageError):
    """The picture is valid, but cleaning it would silently lose something (frames, raw sensor data)."""


class ImageWriteError(ImageError):
    """The result cannot be encoded in the wanted format, or cannot be stored."""


class VideoError(DpenetError):
    """One video that cannot be handled; the others go on."""


class VideoReadError(VideoError):
    """The file is not a video, holds no moving picture, or is damaged."""


class VideoRefused(VideoError):
    """The video is valid, but cleaning it as asked would lose something (a stream, high dynamic range, fields)."""


class VideoWriteError(VideoError):
    """The encoder failed, the result cannot be stored, or it was found wrong when it was opened again."""
