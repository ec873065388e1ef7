"""The test sets of the field by name: how many pairs, where they are to be had, how they lie, and their traps.

Nothing is downloaded. Sources: the README files and issues of csdwren/PReNet, csdwren/RecDerain, swz30/MPRNet,
swz30/Restormer, kuijiang94/MSPFN, stevewongv/SPANet and cuiyixin555/AIDNet, and the papers that introduced the sets.
"""

from dataclasses import dataclass

from dpenet_cli.errors import DatasetError

_RESTORMER = "the download of github.com/swz30/Restormer (Deraining), as input/ and target/"


@dataclass(frozen=True)
class BenchmarkSet:
    """One test set.

    Attributes:
        name: name of the set in dpenet.
        title: name among its users, with the paper that introduced it.
        pairs: number of pairs in the usual test set.
        folders: names that its folder goes by, in lower case without punctuation.
        source: place where it is to be had.
        layouts: layouts that it lies in, in circulation.
        traps: what makes numbers on it incomparable.
    """

    name: str
    title: str
    pairs: int
    folders: tuple[str, ...]
    source: str
    layouts: str
    traps: tuple[str, ...] = ()


_FOLDERS_OR_NORAIN = "input/1.png + target/1.png, or rainy/rain-001.png + norain-001.png"
_YANG = "Yang et al., CVPR 2017"

BENCHMARK_SETS = {
    each.name: each
    for each in (
        BenchmarkSet(
            "rain100l",
            f"Rain100L ({_YANG})",
            100,
            ("rain100l", "rain100ltest", "testrain100l"),
            _RESTORMER,
            _FOLDERS_OR_NORAIN,
            (
                "its authors replaced it later: the new version has 200 test pairs (Rain200L) and more training pairs",
                "pictures of its first training set were 200, of the new one 1800; results differ accordingly",
            ),
        ),
        BenchmarkSet(
            "rain100h",
            f"Rain100H ({_YANG})",
            100,
            ("rain100h", "rain100htest", "testrain100h"),
            _RESTORMER,
            _FOLDERS_OR_NORAIN,
            (
                "it exists with 100 and with 200 pictures; the latter is Rain200H",
                "546 of its 1800 training pictures share their backgrounds with its test set",
            ),
        ),
        BenchmarkSet(
            "rain800",
            "Rain800, also Test100 (Zhang, Sindagi, Patel, TCSVT 2020)",
            100,
            ("rain800", "test100", "rain800test", "testsyn"),
            f"github.com/hezhangsprinter/ID-CGAN, or {_RESTORMER}",
            "1.jpg with the clean half on the left, or input/1.png + target/1.png",
            (
                "Test100 as distributed for MPRNet and Restormer has 98 pairs, following MSPFN",
                "its pictures are JPEGs: blocks and noise are part of the ground truth",
            ),
        ),
        BenchmarkSet(
            "rain1400",
            "Rain1400, the test part of DDN-Data (Fu et al., CVPR 2017)",
            1400,
            ("rain1400", "ddn", "ddndata", "rain1400test", "rainyimagedataset"),
            "the page of Fu et al., 'Removing Rain from Single Images via a Deep Detail Network'",
            "rainy_image/901_1.jpg + ground_truth/901.jpg: 14 rains on each of 100 backgrounds",
            ("Test2800 is another choice of pictures from the same 14,000",),
        ),
        BenchmarkSet(
            "rain12",
            "Rain12 (Li et al., CVPR 2016)",
            12,
            ("rain12", "test12", "rain12test"),
            "the page of Li et al., 'Rain Streak Removal Using Layer Priors'",
            _FOLDERS_OR_NORAIN,
            ("it has no training set; most use weights trained on Rain100L",),
        ),
        BenchmarkSet(
            "rain200l",
            "Rain200L (Yang et al., the later version of Rain100L)",
            200,
            ("rain200l", "rainlight", "rain200ltest"),
            "the project page of Yang et al., 'Joint Rain Detection and Removal'",
            _FOLDERS_OR_NORAIN,
            ("not comparable with Rain100L",),
        ),
        BenchmarkSet(
            "rain200h",
            "Rain200H (Yang et al., the later version of Rain100H)",
            200,
            ("rain200h", "rainheavy", "rain200htest"),
            "the project page of Yang et al., 'Joint Rain Detection and Removal'",
            _FOLDERS_OR_NORAIN,
            ("not comparable with Rain100H",),
        ),
        BenchmarkSet(
            "test1200",
            "Test1200, the test part of DID-Data (Zhang, Patel, CVPR 2018)",
            1200,
            ("test1200", "rain1200", "did", "diddata"),
            f"github.com/hezhangsprinter/DID-MDN, or {_RESTORMER}",
            "1.jpg with both halves, or input/1.png + target/1.png",
        ),
        BenchmarkSet(
            "test2800",
            "Test2800 (from the 14,000 pictures of Fu et al., CVPR 2017)",
            2800,
            ("test2800", "rain2800"),
            _RESTORMER,
            "input/901_1.jpg + target/901_1.jpg",
            ("one distribution held a duplicate, 926_10(1).jpg, and so 2801 pictures",),
        ),
        BenchmarkSet(
            "spa-data",
            "SPA-Data, the test part (Wang et al., CVPR 2019): real rain",
            1000,
            ("spadata", "spa", "realtest1000"),
            "github.com/stevewongv/SPANet",
            "rain/000.png + gt/000gt.png",
            ("its ground truth is computed from video; networks trained on drawn rain barely improve on its input",),
        ),
    )
}
"""The sets that ``--dataset`` knows, by name."""

DEMO = "demo"
"""The name that stands for no set of the field but for pairs made on the spot (`dpenet_cli.evaluation.demo`)."""

NTU = "ntu"
"""The name of the set of video clips, which lies in no one folder (`dpenet_cli.evaluation.video_sets`)."""

ALIASES = {"test100": "rain800"}
"""Other names of the same sets."""


def find_test_set(name: str) -> BenchmarkSet:
    """Look a set up by name.

    Raises:
        DatasetError: no set has that name.
    """
    key = name.lower()
    try:
        return BENCHMARK_SETS[ALIASES.get(key, key)]
    except KeyError:
        names = ", ".join([*BENCHMARK_SETS, *ALIASES, NTU, DEMO])
        step = f"Use one of {names}; or give any pairs with --input and --target."
        raise DatasetError(f"dataset {name!r}", "no set has that name", step) from None
