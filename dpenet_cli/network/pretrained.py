"""The weights that the paper's authors published: from a name to what is known of them, and to a file in the cache.

They lie in the authors' repository, without a licence, so dpenet does not ship them; a user may download them. Address,
size and SHA-256 are pinned here: whatever a server sends, only these very files get their names in the cache.
"""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dpenet_cli.errors import DownloadError
from dpenet_cli.system.atomic import remove_leftovers, write_whole
from dpenet_cli.system.user_dirs import cache_folder

SOURCE = "https://raw.githubusercontent.com/wybchd/DPENet/a4c1dbe392c01d1851c35c9fd64b9585cac104b4/logs"
"""The authors' folder, at the commit that the checksums were taken from."""

MIRROR_VARIABLE = "DPENET_WEIGHTS_URL"
"""Environment variable that names another folder with the same files, http or https: a mirror behind a firewall."""

TERMS = "no licence given by the authors: ask them before you pass the file on or use it in a product"

FILE_BYTES = 2_624_791
"""The size of each of the five files."""

STALL_TIMEOUT, DEADLINE = 30.0, 900.0
"""Seconds without a byte after which a download is given up, and seconds for all of it."""

_CHUNK = 64 * 1024

DownloadProgress = Callable[[int, int], None]
"""Called with the number of bytes that have come, and of those that the file has."""


class MeasuredScore(NamedTuple):
    """What weights score on the test set that they were trained for: fp32, protocol ``y-uint8``, measured with dpenet.

    Attributes:
        dataset: name of the test set.
        pairs: number of its pairs that were there.
        psnr: mean PSNR in dB.
        ssim: mean SSIM, 0..1.
    """

    dataset: str
    pairs: int
    psnr: float
    ssim: float


@dataclass(frozen=True)
class PretrainedWeights:
    """One file of the authors'.

    Attributes:
        name: name of the weights in dpenet.
        file: name of the authors' file.
        sha256: SHA-256 of the file, in hexadecimal.
        trained_on: set whose training pictures they were made from.
        score: score on that set's test pictures, or None where we have not measured it.
    """

    name: str
    file: str
    sha256: str
    trained_on: str
    score: MeasuredScore | None = None

    @property
    def address(self) -> str:
        """Where the file is to be had."""
        return f"{os.environ.get(MIRROR_VARIABLE, '').rstrip('/') or SOURCE}/{self.file}"

    @property
    def path(self) -> Path:
        """Where the file lies once it is pulled."""
        return cache_folder() / "weights" / f"{self.name}.pth"


PRETRAINED = {
    each.name: each
    for each in (
        PretrainedWeights(
            "published-rain100l",
            "Rain100L.pth",
            "6921eb9d70bb4080b97f5f555366d2bbed29ba59403597a63043bf1c4f5f182c",
            "Rain100L",
            MeasuredScore("rain100l", 100, 39.07, 0.9836),
        ),
        PretrainedWeights(
            "published-rain100h",
            "Rain100H.pth",
            "f3f929075f481bef2385e279e68954b70ec187086b6833e8e8e2a35ebf468726",
            "Rain100H",
            MeasuredScore("rain100h", 100, 31.60, 0.9228),
        ),
        PretrainedWeights(
            "published-rain800",
            "Rain800.pth",
            "28eec1d3a73d40f436e23c3ee9d3925c650f98630cf2161c5d146746211227d1",
            "Rain800",
            MeasuredScore("rain800", 100, 27.85, 0.8874),
        ),
        PretrainedWeights(
            "published-rain1400",
            "Rain1400.pth",
            "e1516e13781a5cc0501826714ef23688c51ce37d65711d3e15dac46c9b497fc9",
            "Rain1400",
            MeasuredScore("rain1400", 28, 32.13, 0.9203),
        ),
        PretrainedWeights(
            "published-heavyrain",
            "HeavyRain.pth",
            "e94ca708e1ad6ae247a785709bac7d2910eed24edd81c679450f4a7146b67210",
            "HeavyRain",
        ),
    )
}
"""The published weights, by name."""


def find_pretrained(name: str) -> PretrainedWeights:
    """Look a name up.

    Raises:
        DownloadError: no published weights have that name.
    """
    try:
        return PRETRAINED[name]
    except KeyError:
        why = "no published weights have that name"
        raise DownloadError(name, why, f"The names are {', '.join(PRETRAINED)}.") from None


def pull(
    weights: PretrainedWeights,
    progress: DownloadProgress | None = None,
    *,
    stall_timeout: float = STALL_TIMEOUT,
    deadline: float = DEADLINE,
) -> Path:
    """Download one file into the user's cache, through the proxies that the environment names.

    The file gets its name only once its size and checksum are right; until then, and after any failure, there is no
    such file. One that is there already and right is not downloaded again.

    Args:
        weights: weights to fetch.
        progress: told as bytes arrive.
        stall_timeout: seconds without a byte after which to give up.
        deadline: seconds for the whole file.

    Returns:
        The file in the cache.

    Raises:
        DownloadError: no connection, an answer that is an error, a cut or slow connection, a wrong checksum.
        OSError: the cache cannot be written.
    """
    if check(weights):
        return weights.path
    data = _fetch(weights, progress or _no_progress, stall_timeout, time.monotonic() + deadline)
    if len(data) < FILE_BYTES:
        why = f"the connection was cut after {len(data):,} of {FILE_BYTES:,} bytes"
        raise DownloadError(weights.address, why, "Try again.")
    digest = hashlib.sha256(data).hexdigest()
    if len(data) > FILE_BYTES or digest != weights.sha256:
        why = f"what came is not the file that was published (its SHA-256 is {digest} instead of {weights.sha256})"
        raise DownloadError(weights.address, why, "Nothing was kept. A proxy's login page, perhaps? See the address.")
    weights.path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(weights.path.parent)
    write_whole(weights.path, data)
    return weights.path


def check(weights: PretrainedWeights) -> bool:
    """Whether the file is here and is, byte for byte, the one that was published."""
    try:
        return hashlib.sha256(weights.path.read_bytes()).hexdigest() == weights.sha256
    except OSError:
        return False


def _fetch(weights: PretrainedWeights, progress: DownloadProgress, stall_timeout: float, end: float) -> bytes:
    """Read what the server sends, at most one byte more than there should be."""
    address = weights.address
    # The mirror's address is the user's: urllib would open file:// and others as well.
    if not address.startswith(("https://", "http://")):
        raise DownloadError(address, "it is not a web address", f"Set {MIRROR_VARIABLE} to https://… or unset it.")
    data = bytearray()
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "dpenet"})  # noqa: S310 - checked above
        opener = urllib.request.build_opener()  # a new one: it reads the proxies from the environment as it is made
        with opener.open(request, timeout=stall_timeout) as response:
            # No more than one byte too many: a server that never stops would fill the memory.
            while len(data) <= FILE_BYTES and (part := response.read1(_CHUNK)):
                data += part
                progress(len(data), FILE_BYTES)
                # The socket's timeout is for silence: a byte a second keeps it waiting for ever.
                if time.monotonic() > end:
                    raise TimeoutError("it took too long")  # noqa: TRY301 - a silent server ends in the same place
    except urllib.error.HTTPError as error:
        error.close()  # it is the answer, and holds its connection
        step = "The file may have moved; look at the address in a browser."
        raise DownloadError(address, f"the server answers {error.code} {error.reason}", step) from error
    except TimeoutError as error:
        why = f"the server is too slow ({len(data):,} of {FILE_BYTES:,} bytes came)"
        raise DownloadError(address, why, "Try again later, or from another network.") from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), TimeoutError):  # while connecting, urllib wraps it
            raise DownloadError(address, "the server does not answer", "Try again later.") from error
        if data:
            return bytes(data)  # the connection was cut: the caller sees it by the length
        raise DownloadError(address, f"it cannot be reached ({_reason(error)})", _offline(weights)) from error
    return bytes(data)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__).rstrip(".")


def _offline(weights: PretrainedWeights) -> str:
    return (
        f"Without a connection: fetch the file from that address on another machine and put it at {weights.path}, "
        "or give its path to --weights. Behind a proxy: set HTTPS_PROXY."
    )


def _no_progress(done: int, total: int) -> None:
    pass
