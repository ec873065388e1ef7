"""The backend that runs everywhere: strips of a picture, or batches of frames, through PyTorch.

Integers in, integers out, H×W×3 uint8 or uint16. The network runs in fp16 autocast on CUDA, in bf16 autocast on a CPU
that has it in hardware, in fp32 anywhere; conversion, clamping and rounding are done on the device.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dpenet_cli.arrays import Pixels
from dpenet_cli.errors import DeviceError
from dpenet_cli.inference.backend import NonFinite, OutOfMemory, PendingBatch, TileSize, is_out_of_memory, one_line
from dpenet_cli.inference.cuda import CudaDevice, FramePipeline, QueuedDevice
from dpenet_cli.inference.row_streaming import RowStream
from dpenet_cli.network.model import WHOLE, DPENet, NetworkSchedule
from dpenet_cli.options import Precision
from dpenet_cli.system.devices import cpu_has_bf16, resolve_device

_AUTOCAST = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}

_CPU_STRIP_BYTES = 16384
"""Widest strip on a CPU, in columns times bytes a value: 4,096 columns in fp32, 8,192 in bf16. The rows that the
blocks store between bands then take at most 0.4 GB, so that a 24-megapixel photograph needs less than 1.5 GB in all."""

_CPU_BAND_PIXELS, _CPU_BAND_ROWS = 16384, (8, 64)
"""Pixels in a band on a CPU, and bounds of its rows: small enough to stay in the caches between two convolutions, and
measured to be fastest from 512 to 6,000 columns."""

_FEATURE_MAPS = 12
"""Feature maps of a band that are alive at once, convolution workspaces included; for sizing tiles on a GPU."""

_STATE_ROWS_PER_BLOCK = 48
"""Rows that a DDRB stores between bands: 2·2·(1+2+5) for its convolutions, 2+4+10 for its sums."""

_MEMORY_SHARE = 0.6
"""Share of a GPU's free memory that is planned for; fragmentation and other programs get the rest."""

_BATCH_PIXELS, _BATCH_FRAMES = 2**21, 16
"""Pixels in a batch of video frames on a GPU, and most frames in it: about one frame of 1920×1080, or sixteen small
ones, which keep every multiprocessor of a large GPU busy for some milliseconds."""


class TorchBackend:
    """DPENet on one PyTorch device. Calls must not overlap; `Derainer` sees to that.

    Args:
        model: in eval mode, fp32; it is moved to the device.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: what was asked for; ``auto`` is resolved here.
        threads: CPU threads, or None for PyTorch's choice. The setting is PyTorch's own and holds for the process.

    Raises:
        DeviceError: the device or the precision is not available here.
        OptionError: the device's name is not one of the above.
    """

    def __init__(self, model: DPENet, device: str, precision: Precision, threads: int | None = None) -> None:
        self.device = resolve_device(device)
        self.on_gpu = self.device.type != "cpu"
        self._wanted = precision
        self._chosen = _resolve_precision(self.device, precision)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self._model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        except RuntimeError as error:
            raise DeviceError(str(self.device), one_line(error), "Use another device, or --device cpu.") from error
        self._open: Callable[[torch.device], QueuedDevice] = CudaDevice
        self._pipeline: FramePipeline | None = None
        self._pipeline_key: tuple[object, ...] | None = None  # what it was made for
        self.receptive_radius = model.receptive_radius
        self.description = f"{_device_name(self.device)}, {self._chosen}"

    def precision_for(self, dtype: np.dtype[np.generic]) -> Precision:
        """Under ``auto``, 16-bit pictures run in fp32: a reduced precision has fewer bits than they do."""
        if self._wanted is Precision.AUTO and dtype == np.uint16:
            return Precision.FP32
        return self._chosen

    def tile_size(self, height: int, width: int, precision: Precision, columns: int | None) -> TileSize:
        """On a CPU, by its caches; on CUDA the whole picture where the free memory holds it, else wide bands."""
        if self.device.type != "cuda":
            value_bytes = 4 if precision is Precision.FP32 else 2
            widest = min(columns or _CPU_STRIP_BYTES // value_bytes, width)
            fewest, most = _CPU_BAND_ROWS
            return TileSize(widest, min(max(_CPU_BAND_PIXELS // widest, fewest), most))
        config = self._model.config
        # Memory is counted in rows of feature maps that are one column wide. A band of h rows needs _FEATURE_MAPS·h of
        # them for each column, and what the blocks store besides.
        rows = self._map_pixels(precision)
        stored = _STATE_ROWS_PER_BLOCK * (config.n_ddrb + config.n_erpab)
        fewest = 64  # shorter bands leave a GPU waiting for kernel launches
        widest = min(columns or width, width, max(rows // (_FEATURE_MAPS * fewest + stored), 1))
        span = min(widest + 2 * self.receptive_radius, width)
        if rows // span >= _FEATURE_MAPS * height:
            return TileSize(widest, height)
        return TileSize(widest, max((rows // span - stored) // _FEATURE_MAPS, fewest))

    def _map_pixels(self, precision: Precision) -> int:
        """Pixels of feature maps that the GPU's free memory holds."""
        try:
            free = int(torch.cuda.mem_get_info(self.device)[0])
            free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        except RuntimeError as error:
            raise DeviceError(str(self.device), one_line(error), "Use another device, or --device cpu.") from error
        value_bytes = 4 if precision is Precision.FP32 else 2
        return int(free * _MEMORY_SHARE / (self._model.config.channels * value_bytes))

    def clean(self, strip: Pixels, band_rows: int, precision: Precision, strength: float) -> Iterator[Pixels]:
        """Clean a strip in bands, or whole if one band holds it; see `Backend.clean`."""
        self._pipeline = None
        schedule: NetworkSchedule = WHOLE
        bands: Iterable[tuple[Pixels, Pixels]] = [(strip, strip)]
        if band_rows < len(strip):
            schedule = stream = RowStream(len(strip))
            bands = stream.bands(strip, band_rows, self.receptive_radius)
        with self._errors_named():
            for band, rainy in bands:  # rainy: the input's rows at the place of those that come out
                original = self._upload(rainy) if strength < 1.0 else None
                levels, finite = self._step(
                    self._upload(band),
                    original,
                    rows=len(rainy),
                    schedule=schedule,
                    precision=precision,
                    strength=strength,
                )  # 1×rows×w×3
                if not finite:
                    raise NonFinite("the network returned values that are not numbers")
                if len(rainy):  # nothing comes out of the first bands
                    yield np.asarray(levels[0].cpu().numpy(), strip.dtype)

    def frames_at_once(self, height: int, width: int, precision: Precision) -> int:
        """Enough frames to fill a GPU, if its memory holds them; on other devices frames come one by one."""
        if self.device.type != "cuda":
            return 0
        pixels = height * width
        fitting = self._map_pixels(precision) // (_FEATURE_MAPS * pixels)
        return min(fitting, max(_BATCH_PIXELS // pixels, 1), _BATCH_FRAMES)

    def submit(self, frames: Sequence[Pixels], together: int, precision: Precision, strength: float) -> PendingBatch:
        """Send frames through queues of the device; the memory for that is freed when a picture comes alone."""
        shape = together, *frames[0].shape
        key = shape, frames[0].dtype, precision, strength
        if self._pipeline is None or self._pipeline_key != key:
            step = partial(self._step, rows=shape[1], schedule=WHOLE, precision=precision, strength=strength)
            self._pipeline = None  # its memory goes before there is another
            with self._errors_named():
                self._pipeline = FramePipeline(self._open(self.device), step, shape, frames[0].dtype)
            self._pipeline_key = key
        with self._errors_named():
            pending = self._pipeline.submit(frames)

        def wait() -> list[Pixels]:
            with self._errors_named():
                return pending()

        return wait

    @torch.inference_mode()
    def _step(
        self,
        band: Tensor,
        rainy: Tensor | None = None,
        *,
        rows: int,
        schedule: NetworkSchedule,
        precision: Precision,
        strength: float,
    ) -> tuple[Tensor, Tensor]:
        """Run the network on integers that are on the device, N×h×w×3; nothing here waits for the device.

        Args:
            band: rows that go into the network.
            rainy: the input's rows at the place of those that come out; None where that is the band.
            rows: how many of those that come out are wanted.
            schedule: how rows reach the convolutions and the blocks.
            precision: the network's own; what is around it is done in fp32.
            strength: share of the change that is applied.

        Returns:
            Clean integers, N×rows×w×3, uint8 or int32; and whether all values were finite.
        """
        peak = 255.0 if band.dtype == torch.uint8 else 65535.0
        with self._arithmetic(precision):
            restored = self._model(_unit(band, peak), schedule).restored[:, :, :rows]  # N×3×rows×w
        finite = torch.isfinite(restored).all()
        if strength < 1.0:
            restored = torch.lerp(_unit(band if rainy is None else rainy, peak), restored, strength)
        levels = restored.clamp(0.0, 1.0).mul_(peak).round_().permute(0, 2, 3, 1)  # N×rows×w×3
        return levels.to(torch.uint8 if band.dtype == torch.uint8 else torch.int32), finite  # few know uint16

    def _upload(self, rows: Pixels) -> Tensor:
        """h×W×3 integers to the device, 1×h×W×3."""
        return torch.from_numpy(np.array(rows, order="C")).to(self.device).unsqueeze(0)

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turn what PyTorch raises into what the engine knows."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(one_line(error)) from error
            raise DeviceError(str(self.device), one_line(error), "Try --device cpu, or fewer --threads.") from error

    @contextlib.contextmanager
    def _arithmetic(self, precision: Precision) -> Iterator[None]:
        """Autocast, or fp32 that is IEEE single: cuDNN's convolutions would otherwise use TF32."""
        if precision is not Precision.FP32:
            with torch.autocast(self.device.type, dtype=_AUTOCAST[precision]):
                yield
        elif self.device.type == "cuda":
            with _ieee_convolutions:
                yield
        else:
            yield


def _unit(levels: Tensor, peak: float) -> Tensor:
    """N×h×w×3 integers to N×3×h×w fp32, 0..1, channels_last, which is how the values lie already."""
    return levels.to(torch.float32).div_(peak).permute(0, 3, 1, 2)


def _resolve_precision(device: torch.device, wanted: Precision) -> Precision:
    if wanted is Precision.AUTO:
        if device.type == "cuda":
            return Precision.FP16
        return Precision.BF16 if device.type == "cpu" and cpu_has_bf16() else Precision.FP32
    if wanted is Precision.FP16 and device.type != "cuda":
        raise DeviceError(f"precision fp16 on {device.type}", "it needs a CUDA device", "Use --precision auto.")
    if wanted is Precision.BF16 and device.type == "mps":
        raise DeviceError("precision bf16 on mps", "it is not supported there", "Use --precision auto.")
    return wanted


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


class _IeeeConvolutions:
    """No TF32 in cuDNN's convolutions meanwhile; nothing else of the process is touched.

    The setting is the process's, and engines on several devices run in several threads: the first one in changes it,
    the last one out restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = ""

    def __enter__(self) -> None:
        convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # missing in its stubs
        with self._lock:
            if not self._inside:
                self._before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.backends.cudnn.conv.fp32_precision = self._before  # type: ignore[attr-defined]


_ieee_convolutions = _IeeeConvolutions()
