"""Writes a checkpoint of random weights for any config, as large as the disk, in little memory.

    make_random_checkpoint.py CONFIG OUT [--dtype bfloat16] [--shard-size 2GiB] [--seed 0] [--sparse]

CONFIG is a config.json. The names and shapes of its tensors are those that transformers saves for
that model, so whatever it knows can be made, a model of 30B parameters included. OUT receives the
config and model-0000i-of-0000n.safetensors with their index, written tensor by tensor. Matrices are
normal with the standard deviation 0.02 and norms' weights 1, other vectors 0, so that a forward pass
gives finite numbers. `--sparse` writes no data: the files have their full length, occupy next to
nothing and hold zeros, which is enough to measure loading. Prints the number of parameters and of
bytes as one JSON line. Needs torch and transformers.
"""

import argparse
import json
import pathlib
import re
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
STANDARD_DEVIATION = 0.02
RANDOM_BLOCK = 1 << 22  # values; drawn once and repeated from a random place, which is much faster
UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}


def checkpoint_tensors(config_path):
    """Name and shape of every tensor of the checkpoint, as save_pretrained would write it."""
    config = AutoConfig.from_pretrained(config_path.parent if config_path.name == "config.json" else config_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    state = model.state_dict()
    tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
    state = {name: tensor for name, tensor in state.items() if name not in tied}
    try:
        from transformers.core_model_loading import revert_weight_conversion
        state = revert_weight_conversion(model, state)
    except ImportError:  # before transformers 5 models are saved as they are held
        pass
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def into_shards(tensors, item_size, shard_size):
    """Lists of names, each list of at most `shard_size` bytes (or a single tensor)."""
    shards, used = [[]], 0
    for name, shape in tensors.items():
        size = item_size * torch.Size(shape).numel()
        if shards[-1] and used + size > shard_size:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


class RandomValues:
    """Values of one dtype as bytes."""

    def __init__(self, dtype, seed):
        self.generator = torch.Generator().manual_seed(seed)
        block = torch.randn(RANDOM_BLOCK, generator=self.generator) * STANDARD_DEVIATION
        self.block = block.to(dtype)
        self.dtype = dtype

    def write(self, file, name, shape):
        count = torch.Size(shape).numel()
        if len(shape) < 2:
            is_norm = re.search(r"(norm|ln_|layernorm)[^.]*\.weight$", name, re.IGNORECASE)
            write_tensor(file, torch.full((count,), 1.0 if is_norm else 0.0, dtype=self.dtype))
            return
        while count > 0:
            begin = int(torch.randint(RANDOM_BLOCK // 2, (1,), generator=self.generator))
            piece = self.block[begin:begin + count]
            write_tensor(file, piece)
            count -= len(piece)


def write_tensor(file, values):
    file.write(values.contiguous().view(torch.uint8).numpy().tobytes())


def write_shard(path, names, tensors, dtype, values):
    """One safetensors file; `values` None: a sparse one. Returns its data's number of bytes."""
    header, offset = {}, 0
    for name in names:
        end = offset + dtype.itemsize * torch.Size(tensors[name]).numel()
        header[name] = {"dtype": NAMES[str(dtype).removeprefix("torch.")], "shape": tensors[name],
                        "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if values is None:
            file.truncate(8 + len(text) + offset)
        else:
            for name in names:
                values.write(file, name, tensors[name])
    return offset


def write_checkpoint(arguments):
    dtype = getattr(torch, arguments.dtype)
    tensors = checkpoint_tensors(arguments.config)
    shards = into_shards(tensors, dtype.itemsize, arguments.shard_size)
    values = None if arguments.sparse else RandomValues(dtype, arguments.seed)

    arguments.out.mkdir(parents=True, exist_ok=True)
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    config["torch_dtype"] = arguments.dtype
    (arguments.out / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    weight_map, size = {}, 0
    for i, names in enumerate(shards, start=1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        size += write_shard(arguments.out / file, names, tensors, dtype, values)
        weight_map.update(dict.fromkeys(names, file))
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (arguments.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return {"parameters": sum(torch.Size(shape).numel() for shape in tensors.values()), "bytes": size,
            "files": len(shards)}


def size_in_bytes(text):
    match = re.fullmatch(r"(\d+)(MiB|GiB)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 512MiB or 2GiB")
    return int(match[1]) * UNITS[match[2]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dtype", choices=NAMES, default="bfloat16")
    parser.add_argument("--shard-size", type=size_in_bytes, default="2GiB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sparse", action="store_true")
    arguments = parser.parse_args()

    print(json.dumps(write_checkpoint(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
