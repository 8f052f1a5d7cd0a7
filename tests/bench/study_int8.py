"""What differences in 8 bits would do to deltas, and how fast their products are here.

    study_int8.py MODEL DATASET [--prompts N] [--longest TOKENS] [--token-units N] [--rows R] [--threads N]

MODEL, DATASET, prompts and units as in study_precision.py. transformers runs in float32, each perturbed pass beside the base;
the linear layers of its decoder are replaced by

    bfloat16        a product in bfloat16, of values
    bfloat16_delta  the base's product in float32, and one in bfloat16 of the difference from it
    int8_delta      the same with the difference and the weights rounded to int8, a scale for each row and each output, by
                    torch._int_mm

and everything else, attention and head included, stays float32. Printed for each, against transformers in float64: the error of
a prompt's deltas by the root mean square over that of the deltas, median and worst prompt; Spearman, median and worst; and of how
many prompts int8_delta is no better than bfloat16. Then the seconds of the products of a layer for R rows (1024), medians of seven in
turns. Needs torch and transformers.
"""

import argparse
import pathlib
import time

import numpy as np
import torch
from compare_transformers import hiding_mask
from float64_mode import Float64Mode
from rank_correlation import spearman
from study_precision import PASSES_AT_ONCE, choose_samples, explain_with_transformers, load_model, target_log_probs

REPEAT = 7


def rounded_rows(x):
    """x [rows, width] as int8, and the scale of each row [rows, 1]."""
    scale = x.abs().amax(dim=1, keepdim=True) / 127
    scale[scale == 0] = 1
    return (x / scale).round().to(torch.int8), scale


class Int8Product:
    def __init__(self, weight):
        self.weight, self.scale = rounded_rows(weight.float())

    def __call__(self, x):
        rows, scale = rounded_rows(x)
        return torch._int_mm(rows, self.weight.T).float() * scale * self.scale.T


class Bfloat16Product:
    def __init__(self, weight):
        self.weight = weight.bfloat16()

    def __call__(self, x):
        return torch.nn.functional.linear(x.bfloat16(), self.weight).float()


class RoundedLinear(torch.nn.Module):
    """For [1 + perturbed passes, tokens, width], the base first."""

    def __init__(self, linear, product, of_differences):
        super().__init__()
        self.linear, self.product, self.of_differences = linear, product(linear.weight), of_differences

    def forward(self, x):
        if not self.of_differences:
            out = self.product(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            return out if self.linear.bias is None else out + self.linear.bias
        base = self.linear(x[:1])
        differences = self.product((x[1:] - x[:1]).flatten(0, 1)).unflatten(0, (len(x) - 1, x.shape[1]))
        return torch.cat([base, base + differences])


ARITHMETICS = {"bfloat16": (Bfloat16Product, False), "bfloat16_delta": (Bfloat16Product, True), "int8_delta": (Int8Product, True)}


def layer_linears(layer):
    return [(parent, name, child) for parent in layer.modules() for name, child in parent.named_children()
            if isinstance(child, torch.nn.Linear)]


@torch.inference_mode()
def deltas_of(arguments, samples, product, of_differences):
    model = load_model(arguments.model, torch.float32)
    for layer in model.model.layers:
        for parent, name, linear in layer_linears(layer):
            setattr(parent, name, RoundedLinear(linear, product, of_differences))
    maps = []
    for sample in samples:
        base, *units = [hiding_mask(len(sample.ids) - 1, torch.tensor(unit, dtype=torch.long)) for unit in [[], *sample.units]]
        deltas = []
        for some in torch.cat(units).split(PASSES_AT_ONCE):
            log_probs = target_log_probs(model, sample, torch.cat([base, some])).double()
            deltas.append(log_probs[0] - log_probs[1:])
        maps.append(torch.cat(deltas).numpy())
    return maps


def seconds_of(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.inference_mode()
def print_speed(arguments):
    layer = load_model(arguments.model, torch.float32).model.layers[0]
    weights = [linear.weight for _, _, linear in layer_linears(layer)]
    inputs = [torch.randn(arguments.rows, weight.shape[1]) for weight in weights]
    # Rows are rounded beforehand: the products alone.
    rounded = [rounded_rows(x)[0] for x in inputs]
    int8 = [Int8Product(weight).weight.T for weight in weights]
    bfloat16 = [(x.bfloat16(), weight.bfloat16()) for x, weight in zip(inputs, weights)]
    runs = {"float32": lambda: [torch.nn.functional.linear(x, weight) for x, weight in zip(inputs, weights)],
            "bfloat16": lambda: [torch.nn.functional.linear(x, weight) for x, weight in bfloat16],
            "int8": lambda: [torch._int_mm(x, weight) for x, weight in zip(rounded, int8)]}
    seconds = {name: [] for name in runs}
    for _ in range(REPEAT):
        for name, run in runs.items():
            seconds[name].append(seconds_of(run))
    print(f"products of a layer, {arguments.rows} rows, {torch.get_num_threads()} threads")
    for name, times in seconds.items():
        print(f"{name:8}  {1e3 * np.median(times):.2f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--longest", type=int, default=150)
    parser.add_argument("--token-units", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    samples = choose_samples(arguments)
    with Float64Mode():
        truth = explain_with_transformers(arguments.model, torch.float64, samples)
    print(f"{arguments.model.name}, {len(samples)} prompts, {sum(map(np.size, truth))} deltas")
    print("arithmetic      rms error / rms delta, worst   Spearman, worst")
    errors = {}
    for name, (product, of_differences) in ARITHMETICS.items():
        maps = deltas_of(arguments, samples, product, of_differences)
        errors[name] = np.array([np.sqrt(np.mean((ours - true) ** 2) / np.mean(true ** 2)) for ours, true in zip(maps, truth)])
        ranks = [spearman(ours, true) for ours, true in zip(maps, truth)]
        print(f"{name:14}  {np.median(errors[name]):.4f}, {errors[name].max():.4f}"
              f"                 {np.median(ranks):.4f}, {min(ranks):.4f}", flush=True)
    print(f"prompts on which int8_delta is no better than bfloat16: {int((errors['int8_delta'] >= errors['bfloat16']).sum())};"
          f" least times better: {(errors['bfloat16'] / errors['int8_delta']).min():.2f}")
    print_speed(arguments)


if __name__ == "__main__":
    main()
