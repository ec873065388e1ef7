"""The network that a run begins with: fresh, or from weights; a light one also from weights of a deeper one."""

from torch import nn

from dpenet_cli.errors import OptionError
from dpenet_cli.network.checkpoints import load_model
from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.training.options import TrainOptions

LIGHT = DPENetConfig(n_ddrb=5)
"""The paper's light variant."""


def initial_network(options: TrainOptions) -> DPENet:
    """Build the network of step 0: fp32, on the CPU, in training mode; fresh weights come from torch's own generator.

    Args:
        options: `init` names weights to start from; with `light`, deeper ones lose every second DDRB.

    Raises:
        OptionError: a light network was asked for, and the weights are of another width or of fewer blocks.
        WeightsError: the weights to start from are not usable.
    """
    if options.init is None:
        return DPENet(LIGHT) if options.light else DPENet()
    model = load_model(options.init)
    if options.light and model.config != LIGHT:
        model = _every_second_block(model, options.init)
    return model.train().requires_grad_()


def _every_second_block(model: DPENet, name: str) -> DPENet:
    """Keep every second DDRB, the first among them.

    A block adds to its input, so the blocks that stay still understand each other: of nine ways to take five of the
    published depth's ten, this one restored best before any further training, above the whole network even. Starting
    a shallower network from alternate layers is the way of Sanh et al., "DistilBERT", arXiv 1910.01108, section 3.
    """
    config = model.config
    if (config.channels, config.n_erpab) != (LIGHT.channels, LIGHT.n_erpab) or config.n_ddrb != 2 * LIGHT.n_ddrb:
        why = f"{name} has {config.n_ddrb} DDRBs and {config.n_erpab} ERPABs of {config.channels} channels"
        raise OptionError("light", why, f"Start from weights of {LIGHT} or with twice its DDRBs, or leave out --init.")
    light = DPENet(LIGHT)
    light.r2net = model.r2net
    light.r2net.ddrb = nn.ModuleList(model.r2net.ddrb[i] for i in range(0, config.n_ddrb, 2))
    light.drnet = model.drnet
    return light
