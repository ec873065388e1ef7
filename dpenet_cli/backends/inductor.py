"""The network's blocks compiled by PyTorch's own compiler, for long jobs on a CPU.

Where the hardware multiplies bf16, the convolutions are so fast that the sums and ReLUs between them take most of the
time; compiled, these are done in few passes. In fp32 the convolutions take nearly all of it, and little is gained (2%
in DDRBs, 10% in ERPABs, on an AMD EPYC with AVX2). Compiling takes about half a minute and needs a C++ compiler, so it
is left until a job has shown to be a long one, and what comes of it stays only if it is faster and gives the same.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from dpenet_cli.backends.bands import BandFlow
from dpenet_cli.backends.kept import BandBlock, Ledger, ledger_of, radius_of
from dpenet_cli.backends.sliding import BlockFlow, BlockGraph, Infer
from dpenet_cli.folders import keep_compilers_tidy
from dpenet_cli.model import DPENet

_COMPILE_AFTER = 60.0
"""Seconds of work on bands of one size after which the blocks are compiled for it."""

_KEPT_SIZES = 2
"""Sizes of bands that blocks stay compiled for, the latest: photographs come upright and lying."""

_TIMED_BANDS = 4
"""Bands on which compiled blocks are compared with plain ones, behind the first that fill what blocks keep."""

_WORTH = 0.9
"""Share of the plain blocks' time that compiled ones may take at most: below it they earn their memory."""

_CLOSE = 2.0**-6
"""How far apart the two results may be, as a share of the largest value: two steps of bf16's eight bits of precision,
for compiled sums are rounded once where plain ones are rounded after each operation."""

log = logging.getLogger(__name__)


class LongJob:
    """How long bands of each size have been worked on, and the blocks that were compiled for them.

    Args:
        model: whose blocks are compiled.
        compile_blocks: makes the blocks for bands of so many rows and columns; raises what it likes.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        model: DPENet,
        compile_blocks: "Callable[[DPENet, int, int], CompiledBlocks]",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._compile = compile_blocks
        self._now = now
        self._seconds: dict[tuple[int, int], float] = {}
        self._blocks: dict[tuple[int, int], CompiledBlocks | None] = {}

    def flow(self, height: int, rows: int, width: int) -> BandFlow:
        """The flow for a picture of this height in bands of `rows`×`width`; to be called in the precision to run in."""
        size = rows, width
        if size not in self._blocks and self._seconds.get(size, 0.0) >= _COMPILE_AFTER:
            self._blocks[size] = self._faster_blocks(rows, width)
            compiled = [each for each, blocks in self._blocks.items() if blocks is not None]
            for old in compiled[:-_KEPT_SIZES]:
                self._blocks[old] = None
        blocks = self._blocks.get(size)
        return BandFlow(height) if blocks is None else BlockFlow(height, blocks.graph_of)

    @contextlib.contextmanager
    def at_work(self, rows: int, width: int) -> Iterator[None]:
        """Count the time meanwhile as work on bands of this size."""
        begun = self._now()
        try:
            yield
        finally:
            size = rows, width
            self._seconds[size] = self._seconds.get(size, 0.0) + self._now() - begun

    def _faster_blocks(self, rows: int, width: int) -> "CompiledBlocks | None":
        """Compile the blocks and see whether that was worth it."""
        try:
            blocks = self._compile(self._model, rows, width)
            plain, compiled = (self._seconds_of(blocks, which) for which in (BandFlow, blocks.flow))
        except Exception as error:  # noqa: BLE001 - compilers raise what they like, and the job goes on without them
            log.info("the blocks are not compiled: %s", str(error).partition("\n")[0] or type(error).__name__)
            return None
        alike = all(_alike(a, b) for a, b in zip(plain[1], compiled[1], strict=True))
        kept = alike and compiled[0] <= _WORTH * plain[0]
        log.info(
            "compiled, the blocks take %.3f s a band instead of %.3f s, and %s: %s",
            *(compiled[0], plain[0], "give the same" if alike else "differ", "kept" if kept else "not kept"),
        )
        return blocks if kept else None

    def _seconds_of(self, blocks: "CompiledBlocks", flow_of: Callable[[int], BandFlow]) -> tuple[float, list[Tensor]]:
        """The shortest time of a band through all blocks, and what the last band came to in a block of each kind."""
        seconds, results = 0.0, []
        for block, count in blocks.kinds:
            radius, (rows, width) = radius_of(block), blocks.size
            flow = flow_of(1 << 30)
            times = []
            generator = torch.Generator().manual_seed(0)
            for _ in range(radius // rows + 1 + _TIMED_BANDS):
                band = torch.randn(1, rows, width, self._model.config.channels, generator=generator)
                flow.begin_band()
                begun = self._now()
                out = flow.block(block, band.to(blocks.dtype).permute(0, 3, 1, 2))
                times.append(self._now() - begun)
            seconds += count * min(times[-_TIMED_BANDS:])
            results.append(out.clone())
        return seconds, results


def _alike(a: Tensor, b: Tensor) -> bool:
    return float((a.float() - b.float()).abs().max()) <= _CLOSE * float(a.float().abs().max())


class CompiledBlocks:
    """The blocks of a network, compiled for bands of one size: a graph for each kind.

    Autocast, if it is on, is compiled in.

    Args:
        model: whose blocks they are, on the CPU.
        rows: of a band.
        width: of a band.

    Raises:
        RuntimeError: and others, as the compiler likes; there is no C++ compiler, above all.
    """

    def __init__(self, model: DPENet, rows: int, width: int) -> None:
        keep_compilers_tidy()
        self.size = rows, width
        self.dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        channels = model.config.channels
        blocks = [*model.r2net.ddrb, *model.drnet.erpab]
        self._ledgers = {block: ledger_of(block, channels) for block in blocks}
        self._graphs: dict[type[nn.Module], BlockGraph] = {}
        for block in blocks:
            if type(block) not in self._graphs:
                ledger = self._ledgers[block]
                infer = _compiled(block, ledger)
                self._graphs[type(block)] = BlockGraph(infer, ledger, rows, width, channels, dtype=self.dtype)
        kinds = [type(block) for block in blocks]
        self.kinds = [(blocks[kinds.index(kind)], kinds.count(kind)) for kind in self._graphs]

    def graph_of(self, block: nn.Module) -> tuple[BlockGraph, Sequence[Tensor]]:
        """The graph for a block, and the block's weights."""
        return self._graphs[type(block)], self._ledgers[block].weights

    def flow(self, height: int) -> BandFlow:
        """A flow through these blocks, for a picture of this height."""
        return BlockFlow(height, self.graph_of)


def _compiled(block: nn.Module, ledger: Ledger) -> Infer:
    """What runs a block by compiled code. Compiling is done at the first run."""
    from torch._inductor import config  # noqa: PLC0415 - takes seconds to import

    made: list[Callable[..., Sequence[Tensor]]] = []

    def infer(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        with config.patch(compile_threads=1):  # other processes would outlive an interrupt
            if not made:
                exported = torch.export.export(BandBlock(block, ledger), tuple(inputs), strict=False)
                made.append(torch.compile(exported.module(), dynamic=False))
            for place, result in zip(outputs, made[0](*inputs), strict=True):
                place.copy_(result)

    return infer
