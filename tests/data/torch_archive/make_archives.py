"""Writes the folders beside it, and expected.json: what torch itself says that their tensors are.

    python make_archives.py        needs torch alone; made with torch 2.11.0
"""

import json
import math
import os
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


class RunsACommand:
    def __reduce__(self):
        return os.system, ("touch limn-was-here",)


class Layer(torch.nn.Module):
    """A module with a parameter, a submodule and a buffer, so that its state dict has metadata."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.arange(3.0) / 4)
        self.projection = torch.nn.Linear(3, 2)
        self.register_buffer("steps", torch.tensor(7))


def views():
    """Tensors whose elements lie in their storage in every way that torch.save keeps."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    tied = torch.arange(6.0).reshape(2, 3)
    return {
        "whole": base,
        "transposed": base.transpose(0, 2),
        "permuted_bfloat16": base.to(torch.bfloat16).permute(1, 2, 0),
        "offset": base[1],
        "offset_transposed": base[1].t(),
        "every_other": base[:, :, ::2],
        "column": base[:, :, 1],
        "row_of_one_row": base[1:2, 2:3, 1:3],
        "expanded_by_one": torch.arange(4.0).expand(1, 4),
        "expanded": torch.arange(4.0).expand(3, 4),
        "tied.a": tied,
        "tied.b": tied,
        "tied.transposed": tied.t(),
        "empty": torch.zeros(0, 5),
        "empty_beyond": base[2:, 3:, 4:],
        "scalar": torch.tensor(-1.5),
        "scalar_view": base[1, 2, 3],
    }


def types():
    values = {
        str(dtype).removeprefix("torch."): torch.tensor([[0, 1, 2], [3, 5, 100]]).to(dtype)
        for dtype in (
            torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32,
            torch.uint8, torch.bool, torch.int16, torch.int8, torch.uint16, torch.complex64,
            torch.float8_e4m3fn)
    }
    values["negative"] = torch.tensor([-1, -(2**40)])
    return values


def metadata():
    torch.manual_seed(3)
    layer = Layer().to(torch.float16)
    state = layer.state_dict(keep_vars=True)
    assert isinstance(state, OrderedDict) and state._metadata
    return state


def with_others():
    return {
        "weight": torch.arange(4, dtype=torch.int32),
        "epoch": 3,
        "large": 2**40,
        "rate": 0.5,
        "none": None,
        "list": [1, torch.ones(1), (), [2], ("a", "b")],
        "nested": {"weight": torch.ones(1)},
        7: torch.ones(1),
    }


def read_safetensors(path):
    dtypes = {"F32": torch.float32}
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        flat = torch.frombuffer(bytearray(content[begin:end]), dtype=dtypes[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def describe(tensor):
    row_major = tensor.detach().clone(memory_format=torch.contiguous_format)
    size = math.prod(row_major.shape) * row_major.element_size()
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "bytes": bytes(row_major.untyped_storage())[:size].hex(),
    }


def save(state, folder, file="pytorch_model.bin", **options):
    path = HERE / folder / file
    path.parent.mkdir(exist_ok=True)
    torch.save(state, path, **options)
    return path


def save_compressed(state, folder):
    path = save(state, folder)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def save_sharded(state, folder):
    names = sorted(state)
    weight_map = {}
    for number, shard in enumerate((names[::2], names[1::2]), start=1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        save({name: state[name] for name in shard}, folder, file)
        weight_map.update(dict.fromkeys(shard, file))
    index = {"metadata": {}, "weight_map": weight_map}
    (HERE / folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")


def main():
    expected = {}

    def keep(folder, state, **options):
        save(state, folder, **options)
        expected[folder] = {
            name: describe(value)
            for name, value in state.items()
            if isinstance(name, str) and isinstance(value, torch.Tensor)
        }

    keep("views", views())
    keep("types", types())
    keep("metadata", metadata())
    keep("others", with_others())
    keep("protocol_4", views(), pickle_protocol=4)
    keep("protocol_5", metadata(), pickle_protocol=5)
    save_sharded(types(), "sharded")
    expected["sharded"] = {name: describe(value) for name, value in types().items()}

    save(read_safetensors(HERE.parent / "golden/llama/model.safetensors"), "llama")
    save({"weight": torch.ones(2), "trap": RunsACommand()}, "command")
    save({"state_dict": types()}, "nested")
    save(torch.ones(2), "tensor")
    save(types(), "old", _use_new_zipfile_serialization=False)
    save_compressed({"weight": torch.ones(200)}, "compressed")
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="ascii")


main()
