"""Weights on disk: what is read, what is refused, and that nothing in a file is executed."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import TINY, lively_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from dpenet_cli.errors import WeightsError
from dpenet_cli.network import state_dicts
from dpenet_cli.network.checkpoints import WeightsCard, load_model, read_card, save_model
from dpenet_cli.network.model import DPENet, DPENetConfig
from dpenet_cli.network.weights_files import shipped_names


def equal_states(a: DPENet, b: DPENet) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def published_state(model: DPENet) -> dict[str, torch.Tensor]:
    """The state dict under the published names, written down here once more, from the published files."""
    state = {}
    ours = model.state_dict()
    state["inconv1.0.weight"] = ours["r2net.inconv.weight"]
    for n in range(model.config.n_ddrb):
        for dilation in (1, 2, 5):
            for layer, index in ((0, 0), (2, 1)):
                state[f"ddrb{n + 1}.dconv{dilation}.{layer}.weight"] = ours[
                    f"r2net.ddrb.{n}.dconv{dilation}.{index}.weight"
                ]
    state["outconv1.0.weight"] = ours["r2net.outconv.weight"]
    state["inconv2.0.weight"] = ours["drnet.inconv.weight"]
    for n in range(model.config.n_erpab):
        for published, dilation in ((1, 1), (2, 2), (3, 5)):
            state[f"erpab{n + 1}.inconv{published}.weight"] = ours[f"drnet.erpab.{n}.inconv{dilation}.weight"]
        state[f"erpab{n + 1}.outconv.0.weight"] = ours[f"drnet.erpab.{n}.outconv.weight"]
        state[f"erpab{n + 1}.outconv.0.bias"] = ours[f"drnet.erpab.{n}.outconv.bias"]
        state[f"erpab{n + 1}.pa.0.weight"] = ours[f"drnet.erpab.{n}.pa.squeeze.weight"]
        state[f"erpab{n + 1}.pa.2.weight"] = ours[f"drnet.erpab.{n}.pa.excite.weight"]
    state["outconv2.0.weight"] = ours["drnet.outconv.weight"]
    return state


@pytest.fixture
def model() -> DPENet:
    return lively_model(TINY)


@pytest.mark.parametrize("config", [TINY, DPENetConfig(6, 3, 2)])
def test_our_files_come_back_with_their_card(tmp_path, config):
    model = lively_model(config)
    card = WeightsCard("mine", "CC0", {"steps": 3}, {"rain100l": {"psnr": 30.5}})
    save_model(model, tmp_path / "m.safetensors", card)
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.config == config
    assert equal_states(loaded, model)
    assert read_card(tmp_path / "m.safetensors") == card
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_names_are_mapped(tmp_path, model, prefix):
    torch.save({prefix + key: value for key, value in published_state(model).items()}, tmp_path / "p.pth")
    assert equal_states(load_model(tmp_path / "p.pth"), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_load_as_fp32(tmp_path, model, dtype):
    torch.save({key: value.to(dtype) for key, value in model.state_dict().items()}, tmp_path / "h.pth")
    loaded = load_model(tmp_path / "h.pth")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_all_published_files_load(data):
    for path in sorted((data / "published").glob("*.pth")):
        model = load_model(path)
        assert model.config == DPENetConfig()
        assert len(model.state_dict()) == 85


def test_shipped_weights_load_and_describe_themselves():
    assert "general" in shipped_names()
    for name in shipped_names():
        card = read_card(name)
        assert card.name == name
        assert card.licence
        assert card.provenance["data"]
        load_model(name)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(WeightsError, match="general"):
        load_model("no-such-weights")


def refused(path: Path, match: str) -> None:
    with pytest.raises(WeightsError, match=match) as caught:
        load_model(path)
    assert "Expected a DPENet" in str(caught.value)
    assert str(path) in str(caught.value)


def test_wrong_files_are_refused(tmp_path, model):
    (tmp_path / "empty.pth").write_bytes(b"")
    refused(tmp_path / "empty.pth", "empty")
    (tmp_path / "text.pth").write_text("hello, I am a text")
    refused(tmp_path / "text.pth", "neither")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a.txt", "hello")
    refused(tmp_path / "zip.pth", "not one made by torch.save")
    torch.save(model.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pth", "neither")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    refused(tmp_path / "linear.pth", "not a DPENet")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "something other")


def test_missing_extra_misshapen_and_non_finite_tensors_are_refused(tmp_path, model):
    def saved(name, change):
        state = {key: value.clone() for key, value in model.state_dict().items()}
        change(state)
        torch.save(state, tmp_path / name)
        return tmp_path / name

    key = "r2net.ddrb.0.dconv5.1.weight"
    refused(saved("missing.pth", lambda s: s.pop(key)), "missing, r2net.ddrb.0.dconv5.1.weight")
    refused(saved("extra.pth", lambda s: s.update(surplus=torch.zeros(1))), "surplus")
    refused(saved("shape.pth", lambda s: s.update({key: torch.zeros(4, 4, 5, 5)})), "shape")
    refused(saved("nan.pth", lambda s: s[key].fill_(float("nan"))), "not finite")
    refused(saved("sparse.pth", lambda s: s.update({key: s[key].to_sparse()})), "usable")
    refused(saved("huge.pth", lambda s: s.update({"r2net.ddrb.9999.dconv1.0.weight": torch.zeros(1)})), "claims")
    refused(
        saved("wide.pth", lambda s: s.update({"r2net.inconv.weight": torch.zeros(1, 1, 1, 1).expand(99999, 3, 1, 1)})),
        "claims",
    )
    refused(saved("duplicate.pth", lambda s: s.update({f"module.{key}": s[key]})), "two names")
    refused(saved("stretched.pth", lambda s: s.update({key: torch.zeros(1).expand(4, 4, 3, 3)})), "more values")
    refused(saved("double.pth", lambda s: s.update({key: s[key].double()})), "float64")
    refused(saved("view.pth", lambda s: s.update({key: torch.zeros(1).expand(10**12)})), "shape")


def test_networks_of_nothing_are_refused(tmp_path):
    for config in (DPENetConfig(4, 0, 1), DPENetConfig(4, 1, 0)):
        torch.save(DPENet(config).state_dict(), tmp_path / "none.pth")
        refused(tmp_path / "none.pth", "claims")


def test_names_that_no_file_system_holds_are_clear_errors():
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(WeightsError, match="no such file"):
            load_model(name)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_named_and_never_run(tmp_path, protocol):
    canary = tmp_path / "canary"
    torch.save({"r2net.inconv.weight": Canary(canary)}, tmp_path / "evil.pth", pickle_protocol=protocol)
    refused(tmp_path / "evil.pth", "its pickle asks for")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Canary(canary)))
    refused(tmp_path / "bare.pth", "neither")
    assert not canary.exists()


def test_members_of_absurd_size_are_refused_before_they_are_read(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\0" * 2**20)
    monkeypatch.setattr(state_dicts, "MAX_FILE_BYTES", 2**19)
    refused(tmp_path / "bomb.pth", "unpack to an absurd size")


def test_a_pickle_that_would_take_minutes_to_look_at_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"N0" * 100 * 2**20)  # None, drop it, None, drop it
    assert (tmp_path / "bomb.pth").stat().st_size < 2**20
    refused(tmp_path / "bomb.pth", "its pickle has an absurd size")


def test_a_sparse_file_of_any_size_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "sparse.pth").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(state_dicts.MAX_FILE_BYTES + 1)
    refused(tmp_path / "sparse.pth", "when a DPENet takes")


def test_a_second_pickle_is_refused(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "two.pth")
    with zipfile.ZipFile(tmp_path / "two.pth", "a") as archive:
        archive.writestr("other/data.pkl", pickle.dumps({}))
    refused(tmp_path / "two.pth", "not one made by torch.save")


def test_safetensors_that_lie_are_refused(tmp_path, model):
    save_model(model, tmp_path / "good.safetensors", WeightsCard())
    good = (tmp_path / "good.safetensors").read_bytes()
    header = {"t": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    body = json.dumps(header).encode()
    for name, content in {
        "offsets": struct.pack("<Q", len(body)) + body,
        "length": struct.pack("<Q", 2**62) + good[8:],
        "cut": good[: len(good) // 2],
    }.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        refused(path, "not a usable weights file")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    refused(tmp_path / "foreign.safetensors", "not a DPENet")
    save_file(model.state_dict(), tmp_path / "newer.safetensors", {"format": "dpenet", "format_version": "9"})
    refused(tmp_path / "newer.safetensors", "newer dpenet")


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4))
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_damage_is_an_error_or_harmless(tmp_path_factory, suffix, cut, flips):
    folder = tmp_path_factory.mktemp("damage")
    model = lively_model(TINY)
    path = folder / f"m.{suffix}"
    if suffix == "pth":
        torch.save(published_state(model), path)
    else:
        save_model(model, path, WeightsCard())
    content = bytearray(path.read_bytes()[: int(cut * path.stat().st_size) if cut < 0.5 else None])
    for position, value in flips:
        if content:
            content[int(position * len(content))] = value
    path.write_bytes(content)
    try:
        loaded = load_model(path)
    except WeightsError:
        return
    assert loaded.config == TINY
