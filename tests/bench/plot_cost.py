"""Draws what an explanation costs against the length of its prompt, measured and predicted.

    plot_cost.py CONFIG --out FILE.svg [--limn LIMN] [--tokens N ...] [--batches B] [--compute C ...]

Every token is a unit. Measured: `limn bench`, B batches of the plan (0: all), the rest extrapolated by the
plan's cost. Predicted: the time of the longest prompt but one, scaled by the operations of the exact
minimum, which grow with the square of N and, where attention counts, the cube. The threads are those of
OMP_NUM_THREADS. Prints a table. Needs matplotlib.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import matplotlib
import matplotlib.pyplot as plt

# Legible on white and on dark pages, which show through.
INK = "#7a7a7a"
COLORS = ["#4c8fd6", "#e08a1e", "#2ca05a"]


def explanation(arguments, compute, tokens):
    """What `limn bench` says of an explanation of so many tokens."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder, "report.json")
        dtype = "float32" if compute == "float32" else "bfloat16"
        command = [arguments.limn, "bench", arguments.config, "--tokens", str(tokens), "--targets", "16",
                   "--compute", compute, "--dtype", dtype, "--batches", str(arguments.batches),
                   "--repeat", "2", "--json", str(report)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(report.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--limn", default="build/release/limn")
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 64, 128, 256, 512, 1024])
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--compute", nargs="+", default=["float32", "bfloat16_delta"])
    arguments = parser.parse_args()

    matplotlib.rcParams.update({"svg.fonttype": "none", "text.color": INK, "axes.labelcolor": INK,
                                "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK})
    figure, axes = plt.subplots(figsize=(6, 4))
    print("compute  tokens  seconds  predicted  ratio  naive FLOP / exact")
    for compute, color in zip(arguments.compute, COLORS):
        reports = [explanation(arguments, compute, tokens) for tokens in arguments.tokens]
        seconds = [report["explanation"]["seconds"] for report in reports]
        flops = [report["explanation"]["flops"] for report in reports]
        predicted = [seconds[-2] / flops[-2] * of for of in flops]
        for tokens, measured, expected, report in zip(arguments.tokens, seconds, predicted, reports):
            naive = report["explanation"]["naive_flops"] / report["explanation"]["flops"]
            print(f"{compute}  {tokens}  {measured:.3g}  {expected:.3g}  {measured / expected:.2f}  {naive:.2f}",
                  flush=True)
        axes.plot(arguments.tokens, predicted, color=color, linewidth=1, linestyle="--")
        axes.plot(arguments.tokens, seconds, "o", color=color, label=compute)
    axes.plot([], [], color=INK, linewidth=1, linestyle="--", label="operations, scaled")
    axes.set(xscale="log", yscale="log", xlabel="prompt tokens, each a unit", ylabel="seconds an explanation")
    axes.set_xticks(arguments.tokens, [str(tokens) for tokens in arguments.tokens])
    axes.minorticks_off()
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(arguments.out, transparent=True, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
