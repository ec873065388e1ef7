"""What other methods published on the test sets, so that a number has a place.

Read from the named repositories' README files and figures. Training data and protocols differ between sources: only
numbers of one source compare with each other, and each is given with what its source states, "not stated" otherwise.
"""

from dataclasses import dataclass

NOT_STATED = "not stated"


@dataclass(frozen=True)
class ReportedScore:
    """One method on one set.

    Attributes:
        method: name of the method.
        dataset: name of the set, as in `test_sets` and `video_sets`.
        psnr: PSNR in dB.
        ssim: SSIM, 0..1, or None where the source has none.
        training: data that the method was trained on.
        protocol: what was compared.
        source: where the number stands.
    """

    method: str
    dataset: str
    psnr: float
    ssim: float | None
    training: str
    protocol: str
    source: str

    @property
    def text(self) -> str:
        """Both scores as text, such as ``37.48 / 0.979``."""
        ssim = "" if self.ssim is None else f" / {self.ssim:.4f}".removesuffix("0")
        return f"{self.psnr:.2f}{ssim}"


@dataclass(frozen=True)
class _Table:
    """One source's table: a line a method, ``name: psnr/ssim psnr/ssim …`` in the order of `datasets`, - for none."""

    source: str
    training: str
    protocol: str
    datasets: str
    lines: str

    def rows(self) -> list[ReportedScore]:
        """The numbers of the table, line by line."""
        rows = []
        for line in self.lines.strip().splitlines():
            method, _, cells = line.strip().partition(": ")
            for dataset, cell in zip(self.datasets.split(), cells.split(), strict=True):
                if cell != "-":
                    psnr, _, ssim = cell.partition("/")
                    scores = (float(psnr), float(ssim) if ssim else None)
                    rows.append(ReportedScore(method, dataset, *scores, self.training, self.protocol, self.source))
        return rows


_OWN = "each set's own"
_Y = "Y channel"

_TABLES = (
    _Table(
        "wybchd/DPENet, the authors' checkpoints (logs/), measured by dpenet on all 100 pairs",
        _OWN,
        "y-uint8",
        "rain100h rain100l",
        "DPENet: 31.60/.9228 39.07/.9836",
    ),
    _Table(
        "csdwren/PReNet README",
        _OWN,
        _Y,
        "rain100h rain100l rain12 rain1400",
        """
        PRN: 28.07/.884 36.99/.977 36.62/.952 31.69/.941
        PReNet: 29.46/.899 37.48/.979 36.66/.961 32.60/.946
        PReNet_r: 28.98/.892 37.10/.977 36.69/.962 32.44/.944
        JORDER: 26.54/.835 36.61/.974 33.92/.953 -
        RESCAN: 28.88/.866 - - -
        """,
    ),
    _Table(
        "leftthomas/RCDNet README (reproduction)",
        _OWN,
        _Y,
        "rain100h rain100l rain1400",
        "RCDNet: 32.02/.9180 40.29/.9869 33.28/.9494",
    ),
    _Table(
        "leftthomas/Restormer README (reproduction)", _OWN, _Y, "rain100h rain100l", "Restormer: 31.96/.916 39.98/.987"
    ),
    _Table(
        "DGUNet figs/t_rain.PNG",
        "Rain13K",
        _Y,
        "rain800 rain100h rain100l test2800 test1200",
        """
        PReNet: 24.81/.851 26.77/.858 32.44/.950 31.75/.916 31.36/.911
        MSPFN: 27.50/.876 28.66/.860 32.40/.933 32.82/.930 32.39/.916
        MPRNet: 30.27/.897 30.41/.890 36.40/.965 33.64/.938 32.91/.916
        DGUNet+: 30.86/.907 31.06/.897 38.25/.974 34.01/.942 33.08/.916
        """,
    ),
    _Table(
        "open-mmlab/mmagic configs/restormer",
        "Rain13K",
        _Y,
        "rain800 rain100h rain100l test2800 test1200",
        "Restormer: 32.03/.924 31.48/.906 39.10/.979 34.22/.945 33.23/.927",
    ),
    _Table(
        "c-yn/FSNet issue 19, its author",
        "Rain13K",
        _Y,
        "rain800 rain100h rain100l test2800 test1200",
        "FSNet: 31.05 31.77 38.00 33.64 33.08",
    ),
    _Table(
        "dronefreak/clearview README",
        "mixed domains, one model",
        "RGB",
        "rain100l rain100h rain800 test1200 test2800 spa-data",
        """
        ClearView Restormer: 36.04 27.78 28.65 31.91 32.05 44.67
        ClearView NAFNet: 34.14 27.72 27.96 31.28 31.66 41.77
        """,
    ),
    _Table(
        "FADformer figs/result.png",
        NOT_STATED,
        NOT_STATED,
        "rain200l rain200h rain1400 test1200 spa-data",  # its DDN and DID are the test parts of DDN-Data and DID-Data
        """
        PReNet: 37.80/.9814 29.04/.8991 32.60/.9459 33.17/.9481 40.16/.9816
        RCDNet: 39.17/.9885 30.24/.9048 33.04/.9472 34.08/.9532 43.36/.9831
        MPRNet: 39.47/.9825 30.67/.9110 33.10/.9347 33.99/.9590 43.64/.9844
        Restormer: 40.99/.9890 32.00/.9329 34.20/.9571 35.29/.9641 47.98/.9921
        DRSformer: 41.23/.9894 32.17/.9326 34.35/.9588 35.35/.9646 48.54/.9924
        FADformer: 41.80/.9906 32.48/.9359 34.42/.9602 35.48/.9657 49.21/.9934
        """,
    ),
    _Table(
        "ShugoYamashita/DFSSM README",
        NOT_STATED,
        NOT_STATED,
        "rain200l rain200h rain1400 test1200 spa-data",
        "DFSSM: 41.81/.9905 32.99/.9403 34.53/.9608 35.66/.9671 49.55/.9939",
    ),
    _Table(
        "cschenxiang/NeRD-Rain figs/table.png",
        _OWN,
        _Y,
        "rain200l rain200h rain1400 test1200 spa-data",
        """
        NeRD-Rain: 41.71 32.40 34.45 35.53 49.58
        HCT-FFN: 39.70 31.51 33.00 33.96 45.79
        """,
    ),
    _Table(
        "TonyHongtaoWu/RainMamba README",
        NOT_STATED,
        NOT_STATED,
        "ntu",
        """
        MSCSC: 27.31/.7870
        J4RNet: 32.14/.9480
        SPAC: 33.11/.9474
        FCRNet: 36.05/.9676
        SLDNet: 34.89/.9540
        MPRNet (single frames): 36.11/.9637
        S2VD: 37.37/.9683
        ESTINet: 37.48/.9700
        RainMamba: 37.87/.9738
        """,
    ),
)


def reported_on(dataset: str) -> list[ReportedScore]:
    """What was published on one set, the best PSNR first."""
    rows = [row for table in _TABLES for row in table.rows() if row.dataset == dataset]
    return sorted(rows, key=lambda row: -row.psnr)
