"""Models runs on 1 to 1,024 GPUs from pieces that were measured.

    model_scaling.py --programs build/release/tests --out docs [--tflops T] [--efficiency E] ...

Prints the tables of docs/scaling.md and draws

    scaling_strong.svg   the speed-up of one dataset, by GPUs
    scaling_weak.svg     the efficiency when the dataset grows with the GPUs

What is measured: the plan and its tail (tail_bench, run here); the coordinator's limits (given as
arguments, from coordinator_bench and sealing_bench). What is a model: the rate of a GPU
(--tflops times --efficiency, the same whatever the batch and the number of tensor ranks) and of the
links (bytes over bandwidth, plus a latency for each all-reduce, nothing hidden behind arithmetic).
"""

import argparse
import json
import pathlib
import subprocess
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt

# Legible on white and on dark pages, which show through.
INK = "#7a7a7a"
COLORS = ["#4c8fd6", "#e08a1e", "#2ca05a", "#c8559b", "#8d7bd4"]
BATCH_ROWS = 16384
# The time of how many rows each batch costs besides, as in tail_bench.
ROWS_OF_OVERHEAD = 128
GPUS = [2**i for i in range(11)]


@dataclass
class Shape:
    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    matrices: int  # of an MLP
    vocabulary: int
    tied: bool

    @property
    def layer_weights(self):
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        return attention + self.matrices * self.hidden * self.inner

    @property
    def parameters(self):
        return self.layers * self.layer_weights + (1 if self.tied else 2) * self.vocabulary * self.hidden

    # As worker/decoder_cost.h counts.
    @property
    def per_row(self):
        return 2 * self.layers * self.layer_weights

    @property
    def per_key(self):
        return 4 * self.head_dim * self.heads * self.layers

    def operations(self, plan):
        """Of all sweeps, with the head's for target rows."""
        head = 2 * self.hidden * self.vocabulary * plan["target_rows"]
        return self.per_row * plan["rows"] + self.per_key * plan["keys"] + head

    def all_reduced(self, rows, base_rows, target_rows):
        """Bytes of the tensors that a group adds up over its ranks.

        Float32 rows behind attention and behind the MLP of every layer, in the last one for target
        rows alone; the embeddings of base rows; of each target row a largest logit, and two sums in
        float64."""
        whole = 2 * (self.layers - 1) * rows + 2 * target_rows + base_rows
        return whole * self.hidden * 4 + target_rows * (4 + 16)


SHAPES = [
    Shape("Qwen3-32B", 64, 5120, 64, 8, 128, 25600, 3, 151936, tied=False),
    Shape("OPT-30B", 48, 7168, 56, 56, 128, 28672, 2, 50272, tied=True),
    Shape("Llama-3-70B", 80, 8192, 64, 8, 128, 28672, 3, 128256, tied=False),
]


@dataclass
class Link:
    name: str
    bytes_per_s: float
    latency_s: float  # of an all-reduce

    def seconds(self, shape, plan_or_batch, tensor_ranks, num_batches):
        if tensor_ranks == 1:
            return 0.0
        rows, base_rows, target_rows = plan_or_batch
        bus_bytes = 2 * (tensor_ranks - 1) / tensor_ranks * shape.all_reduced(rows, base_rows, target_rows)
        # Rows go through a layer in blocks: taken as two, the bases and the others.
        calls = num_batches * 4 * shape.layers
        return bus_bytes / self.bytes_per_s + calls * self.latency_s


class Model:
    def __init__(self, arguments):
        self.arguments = arguments
        self.flops = arguments.tflops * 1e12 * arguments.efficiency
        self.links = {
            "NVLink": Link("NVLink", arguments.nvlink * 1e9, 20e-6),
            "InfiniBand": Link("InfiniBand", arguments.infiniband * 1e9 / 8, 40e-6),
        }
        self.plans = {}

    def plan(self, shape, dataset, num_samples):
        key = (shape.name, dataset, num_samples)
        if key not in self.plans:
            program = self.arguments.programs / "tail_bench"
            command = [program, str(num_samples), dataset, repr(shape.per_row), repr(shape.per_key)]
            self.plans[key] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return self.plans[key]

    def link(self, tensor_ranks):
        """A node has eight GPUs."""
        return self.links["NVLink" if tensor_ranks <= 8 else "InfiniBand"]

    def group_seconds(self, shape, plan, tensor_ranks, link=None):
        """Of one group for all batches."""
        overhead = ROWS_OF_OVERHEAD * shape.per_row * plan["batches"]
        compute = (shape.operations(plan) + overhead) / (self.flops * tensor_ranks)
        link = link or self.link(tensor_ranks)
        return compute + link.seconds(
            shape, (plan["rows"], plan["base_rows"], plan["target_rows"]), tensor_ranks, plan["batches"])

    def load_seconds(self, shape, gpus, tensor_ranks):
        """Every group reads the whole checkpoint, as bfloat16. The ranks of a node share its pages
        only where they are ranks of several groups: a node then reads it once."""
        nodes = -(-gpus // 8)
        copies = nodes if tensor_ranks <= 8 else -(-gpus // tensor_ranks)
        total = copies * 2 * shape.parameters
        per_node = 2 * shape.parameters * min(1, max(gpus, tensor_ranks) / tensor_ranks)
        return max(total / (self.arguments.file_system * 1e9), per_node / (self.arguments.node_read * 1e9))

    def start_seconds(self, shape, gpus, tensor_ranks, num_samples):
        """To the first batch: MPI and NCCL, the dataset read once, the weights; the last two at the same time would
        be no mistake, but they are not."""
        survey = num_samples / self.arguments.samples_per_s
        return self.arguments.start_s + survey + self.load_seconds(shape, gpus, tensor_ranks)

    def run(self, shape, dataset, num_samples, gpus, tensor_ranks):
        """Seconds of the groups' work alone, and of the whole, or None where a copy has no room."""
        if gpus < tensor_ranks:
            return None
        groups = gpus // tensor_ranks
        plan = self.plan(shape, dataset, num_samples)
        idle = plan["idle_percent"][groups.bit_length() - 1] / 100
        work = self.group_seconds(shape, plan, tensor_ranks) / groups / (1 - idle)
        coordinator = max(plan["batches"] / self.arguments.batches_per_s, num_samples / self.arguments.samples_per_s)
        sealing = plan["batches"] / self.arguments.sealed_batches_per_s
        return {
            "plan": plan,
            "groups": groups,
            "idle": idle,
            "work": max(work, coordinator, sealing),
            "limited": max(coordinator, sealing) > work,
            "batches_per_s": plan["batches"] / work,
            "start": self.start_seconds(shape, gpus, tensor_ranks, num_samples),
            "merge": num_samples / self.arguments.merged_samples_per_s[dataset.endswith("tokens")],
        }


def table(title, header, rows):
    print(f"\n{title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def show_seconds(seconds):
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 6000:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 1e6 else f"{seconds / 86400:,.0f} days"


# ---- The tables ----


def print_all_reduces(model):
    batch = (BATCH_ROWS, 2000, 600)
    rows = []
    for shape in SHAPES:
        layer = 2 * BATCH_ROWS * shape.hidden * 4
        sweep = shape.all_reduced(*batch)
        for ranks in (1, 2, 4, 8):
            one = {"batches": 1, "rows": BATCH_ROWS, "keys": BATCH_ROWS * 500, "base_rows": batch[1], "target_rows": batch[2]}
            compute = shape.operations(one) / (model.flops * ranks)
            times = [link.seconds(shape, batch, ranks, 1) for link in model.links.values()]
            shares = [time / (time + compute) for time in times]
            rows.append([shape.name, ranks, f"{2 * shape.parameters / ranks / 1e9:.1f}", f"{layer / 2**20:.0f}" if ranks > 1 else 0,
                         f"{sweep / 1e9:.1f}" if ranks > 1 else 0, f"{compute:.2f}",
                         *(f"{time:.2f} ({100 * share:.0f} %)" for time, share in zip(times, shares))])
    table(f"All-reduces of a sweep of {BATCH_ROWS:,} rows ({batch[1]:,} of bases, {batch[2]} target rows, 500 keys a row)",
          ["model", "t", "weights a GPU, GB", "a layer, MiB", "a sweep, GB", "computing, s",
           "on NVLink, s", "on InfiniBand, s"], rows)


def print_tails(model):
    rows = []
    for dataset in ("mixed", "mixed_sentences", "mixed_tokens"):
        for num_samples in (1000, 100_000):
            plan = model.plan(SHAPES[0], dataset, num_samples)
            rows.append([dataset, f"{num_samples:,}", f"{plan['batches']:,}", f"{plan['cut_percent']:.1f}",
                         *(f"{plan['idle_percent'][i]:.2f}" for i in (2, 4, 6, 7, 8, 10))])
    table("The tail: percent of the groups' time without work (Qwen3-32B's cost)",
          ["samples", "number", "batches", "cut, %", "4 groups", "16", "64", "128", "256", "1,024"], rows)


def print_starts(model):
    rows = []
    for shape, ranks in zip(SHAPES, (2, 2, 4)):
        rows.append([shape.name, ranks, f"{2 * shape.parameters / 1e9:.0f}",
                     *(show_seconds(model.load_seconds(shape, gpus, ranks)) for gpus in (8, 64, 256, 1024)),
                     show_seconds(model.start_seconds(shape, 1024, ranks, 10_000))])
    table("Loading the weights, and the time to the first batch of 10,000 samples",
          ["model", "t", "GB", "8 GPUs", "64", "256", "1,024", "first batch on 1,024"], rows)


def print_strong(model):
    shape = SHAPES[0]
    for dataset in ("squad_sentences", "squad_tokens"):
        rows = []
        for ranks in (1, 2, 4, 8):
            one = model.run(shape, dataset, 10_000, ranks, ranks)
            for gpus in (ranks, *(g for g in (8, 64, 256, 1024) if g > ranks)):
                run = model.run(shape, dataset, 10_000, gpus, ranks)
                speed_up = one["work"] / run["work"] * ranks
                whole = run["start"] + run["work"] + run["merge"]
                rows.append([ranks, f"{gpus:,}", run["groups"], show_seconds(run["work"]),
                             f"{100 * run['idle']:.1f}", f"{100 * speed_up / gpus:.0f}", f"{run['batches_per_s']:.3g}",
                             show_seconds(run["start"]), show_seconds(run["merge"]), show_seconds(whole)])
        table(f"Strong scaling: 10,000 samples, {dataset}, {shape.name}, {run['plan']['batches']:,} batches",
              ["t", "GPUs", "groups", "sweeps", "idle, %", "efficiency, %", "batches/s", "start", "merge", "in all"], rows)


def print_weak(model):
    shape = SHAPES[0]
    for dataset, per_gpu in (("squad_sentences", 1000), ("squad_tokens", 100)):
        rows = []
        for gpus in (2, 8, 64, 256, 1024):
            run = model.run(shape, dataset, per_gpu * gpus, gpus, 2)
            whole = run["start"] + run["work"] + run["merge"]
            one = model.run(shape, dataset, per_gpu * 2, 2, 2)["work"]
            rows.append([f"{gpus:,}", f"{per_gpu * gpus:,}", f"{run['plan']['batches']:,}", show_seconds(run["work"]),
                         f"{100 * run['idle']:.1f}", f"{100 * one / run['work']:.0f}", f"{run['batches_per_s']:.3g}",
                         show_seconds(run["start"]), show_seconds(run["merge"]), f"{100 * one / whole:.0f}"])
        table(f"Weak scaling: {per_gpu:,} samples a GPU, {dataset}, {shape.name}, t = 2",
              ["GPUs", "samples", "batches", "sweeps", "idle, %", "efficiency, %", "batches/s", "start", "merge",
               "with start and merge, %"], rows)


# ---- The drawings ----


def draw(path, panels, title_of_y):
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False)
    for one, (title, curves, ideal) in zip(axes[0], panels):
        for (label, points), color in zip(curves.items(), COLORS):
            one.plot(*zip(*points), ".-", color=color, label=label)
        if ideal:
            one.plot(GPUS, GPUS, ":", color=INK, label="ideal")
            one.set_yscale("log", base=2)
        else:
            one.set_ylim(0, 105)
        one.set_xscale("log", base=2)
        one.set_xticks(GPUS[::2], [f"{g:,}" for g in GPUS[::2]])
        one.set_xlabel("GPUs")
        one.set_ylabel(title_of_y)
        one.set_title(title, fontsize=10)
        one.spines[["top", "right"]].set_visible(False)
        one.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)


def draw_strong(model, path):
    shape = SHAPES[0]
    panels = []
    for dataset, title in (("squad_sentences", "10,000 samples, sentence units"), ("squad_tokens", "10,000 samples, token units")):
        reference = model.group_seconds(shape, model.plan(shape, dataset, 10_000), 1)
        curves = {}
        for ranks in (1, 2, 4, 8):
            curves[f"t = {ranks}"] = [(g, reference / model.run(shape, dataset, 10_000, g, ranks)["work"])
                                      for g in GPUS if g >= ranks]
        whole = [(g, model.run(shape, dataset, 10_000, g, 2)) for g in GPUS[1:]]
        curves["t = 2, with start and merge"] = [(g, reference / (r["start"] + r["work"] + r["merge"])) for g, r in whole]
        panels.append((title, curves, True))
    draw(path, panels, "times one GPU's sweeps")


def draw_weak(model, path):
    shape = SHAPES[0]
    panels = []
    for dataset, per_gpu, title in (("squad_sentences", 1000, "1,000 samples a GPU, sentence units"),
                                    ("squad_tokens", 100, "100 samples a GPU, token units")):
        one = model.run(shape, dataset, per_gpu * 2, 2, 2)["work"]
        runs = [(g, model.run(shape, dataset, per_gpu * g, g, 2)) for g in GPUS[1:]]
        panels.append((title, {
            "sweeps": [(g, 100 * one / r["work"]) for g, r in runs],
            "with start": [(g, 100 * one / (r["work"] + r["start"])) for g, r in runs],
            "with start and merge": [(g, 100 * one / (r["work"] + r["start"] + r["merge"])) for g, r in runs],
        }, False))
    draw(path, panels, "% of two GPUs' sweeps")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tflops", type=float, default=600, help="of a GPU's matrix products, bfloat16")
    parser.add_argument("--efficiency", type=float, default=1.0, help="of a sweep, against its products")
    parser.add_argument("--nvlink", type=float, default=450, help="bus bandwidth, GB/s")
    parser.add_argument("--infiniband", type=float, default=400, help="Gb/s of a GPU's link")
    parser.add_argument("--file-system", type=float, default=100, help="GB/s, for all nodes together")
    parser.add_argument("--node-read", type=float, default=5, help="GB/s that a node reads")
    parser.add_argument("--start-s", type=float, default=15, help="until MPI, NCCL and CUDA are ready")
    parser.add_argument("--batches-per-s", type=float, required=True, help="coordinator_bench tokens")
    parser.add_argument("--samples-per-s", type=float, required=True, help="that the coordinator prepares")
    parser.add_argument("--sealed-batches-per-s", type=float, required=True, help="sealing_bench")
    parser.add_argument("--merged-samples-per-s", type=float, nargs=2, required=True,
                        metavar=("SENTENCES", "TOKENS"), help="sealing_bench")
    arguments = parser.parse_args()

    # The same file for the same numbers.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "limn", "font.size": 9} | {
        f"{what}color": INK for what in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.")})
    model = Model(arguments)
    print_all_reduces(model)
    print_tails(model)
    print_starts(model)
    print_strong(model)
    print_weak(model)
    draw_strong(model, arguments.out / "scaling_strong.svg")
    draw_weak(model, arguments.out / "scaling_weak.svg")


if __name__ == "__main__":
    main()
