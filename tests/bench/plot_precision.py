"""Draws what study_precision.py found.

    plot_precision.py FOLDER ... --out FOLDER [--arithmetics A ...]

    precision_error.svg     relative error of every prompt, by arithmetic
    precision_spearman.svg  rank correlation with the truth, prompt by prompt
    precision_deltas.svg    error of single deltas against their size

Each FOLDER is one of study_precision.py, named after its model, and becomes a panel. Needs what that
program needs, and matplotlib.
"""

import argparse
import pathlib
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from rank_correlation import spearman
from study_precision import ARITHMETICS, maps_path, read_maps, rms

# Legible on white and on dark pages, which show through.
INK = "#7a7a7a"
COLORS = ["#4c8fd6", "#e08a1e", "#2ca05a", "#c8559b", "#8d7bd4"]
# Of each arithmetic and model, so that the file stays small.
NUM_POINTS = 100
# What is smaller, or 0, is drawn here.
SMALLEST_ERROR = 1e-9
SMALLEST_LOSS = 1e-7


@dataclass
class Study:
    """One folder: maps [units, targets] of every prompt."""

    title: str
    truth: list[np.ndarray]
    maps: dict[str, list[np.ndarray]]  # by arithmetic

    def measure(self, function, arithmetic):
        """`function(truth, delta)` of every prompt"""
        return np.array([function(*pair) for pair in zip(self.truth, self.maps[arithmetic], strict=True)])


def read_study(folder, arithmetics):
    return Study(folder.name, read_maps(folder / "truth.npz"),
                 {arithmetic: read_maps(maps_path(folder, arithmetic)) for arithmetic in arithmetics})


def relative_error(truth, delta):
    return rms(delta - truth) / rms(truth)


def lost_correlation(truth, delta):
    return max(1 - spearman(truth, delta), SMALLEST_LOSS)


# ---- The panels ----


def draw_errors(axes, study):
    for i, (arithmetic, color) in enumerate(zip(study.maps, COLORS)):
        errors = np.sort(study.measure(relative_error, arithmetic))
        axes.plot(i + np.linspace(-0.25, 0.25, len(errors)), errors, ".", color=color)
        axes.hlines(np.median(errors), i - 0.35, i + 0.35, color=color)
    axes.set_xticks(range(len(study.maps)), [name.replace(":", "\n") for name in study.maps])
    axes.tick_params(axis="x", labelsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("rms error / rms delta")


def draw_correlations(axes, study):
    lost = {arithmetic: study.measure(lost_correlation, arithmetic) for arithmetic in study.maps}
    order = np.argsort(np.max(list(lost.values()), axis=0))
    for (arithmetic, values), color in zip(lost.items(), COLORS):
        axes.plot(np.arange(1, len(order) + 1), values[order], ".-", linewidth=0.7, color=color, label=arithmetic)
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("prompts, the hardest last")
    axes.set_ylabel("1 - Spearman")


def draw_deltas(axes, study):
    truth = np.concatenate([delta.ravel() for delta in study.truth])
    chosen = np.random.default_rng(0).permutation(len(truth))[:NUM_POINTS]
    for (arithmetic, maps), color in zip(study.maps.items(), COLORS):
        error = np.abs(np.concatenate([delta.ravel() for delta in maps]) - truth)[chosen]
        size = np.maximum(np.abs(truth[chosen]), SMALLEST_ERROR)
        axes.plot(size, np.maximum(error, SMALLEST_ERROR), ".", markersize=4, color=color, label=arithmetic)
    ends = [size.min(), size.max()]
    axes.plot(ends, ends, "--", linewidth=0.7, color=INK, label="error = delta")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("|delta|, nats")
    axes.set_ylabel("|error|, nats")


def draw(path, studies, panel, height):
    figure, axes = plt.subplots(1, len(studies), figsize=(4.6 * len(studies), height), squeeze=False, sharey=True)
    for study, one in zip(studies, axes[0]):
        panel(one, study)
        one.set_title(study.title, fontsize=10)
        one.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.93 if labels else 1))
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--arithmetics", nargs="+", default=ARITHMETICS)
    arguments = parser.parse_args()

    # The same file for the same numbers.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "limn", "font.size": 9} | {
        f"{what}color": INK for what in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.")})
    studies = [read_study(folder, arguments.arithmetics) for folder in arguments.folders]
    draw(arguments.out / "precision_error.svg", studies, draw_errors, height=3.2)
    draw(arguments.out / "precision_spearman.svg", studies, draw_correlations, height=3.4)
    draw(arguments.out / "precision_deltas.svg", studies, draw_deltas, height=3.8)


if __name__ == "__main__":
    main()
