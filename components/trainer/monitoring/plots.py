# SPDX-License-Identifier: Apache-2.0
"""Pictures of a training, drawn with matplotlib alone: Keras' own of a model needs graphviz, which no Python package brings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tf_keras as keras
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

DPI = 110
COLOURS = (
    ("Conv", "#cfe2f3"),
    ("Pool", "#d9ead3"),
    ("Average", "#d9ead3"),
    ("Dense", "#fce5cd"),
    ("LSTM", "#fce5cd"),
    ("GRU", "#fce5cd"),
    ("Bidirectional", "#fce5cd"),
    ("Dropout", "#eeeeee"),
    ("Norm", "#fff2cc"),
    ("Standardize", "#fff2cc"),
)
"""By what a layer's class is called; the first that fits counts."""
OTHER_COLOUR = "#ffffff"
LINE = "#555555"

ROW_IN, GAP_IN, LANE_IN, WIDTH_IN, MARGIN_IN = 0.3, 0.16, 0.16, 7.6, 0.15
"""Heights of a layer's box and of the space below it, width between two lines beside the boxes, of a box, of the border."""


def draw_confusion_matrix(matrix: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draws counts and each row's shares as shades.

    Args:
        matrix: int [classes, classes], a row a label, a column a prediction.
        classes: their names.
        title: what is above.
    """
    figure = Figure(figsize=(1.6 + 1.1 * len(classes), 1.4 + 0.9 * len(classes)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=colour)
    places = range(len(classes))
    axes.set(xticks=places, yticks=places, xticklabels=classes, yticklabels=classes, xlabel="predicted", ylabel="annotated")
    axes.tick_params(length=0)
    axes.set_title(title, fontsize="medium")
    return figure


def draw_model(network: keras.Model) -> Figure:
    """Draws the layers from input to output, with the shape that each makes of one clip and its number of parameters.

    A line from box to box leads to the next layer, a line beside them past others. `?` is a length that depends on the clip's.
    The layers of a model that stands as one layer among others follow below.
    """
    parts = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    layers = [layer for model in (network, *parts) for layer in _in_order(model)]
    row = {layer.name: index for index, layer in enumerate(layers)}
    lanes = _lanes(layers, row)
    left = MARGIN_IN + LANE_IN * (max(lanes.values(), default=-1) + 1.5)
    pitch, header = ROW_IN + GAP_IN, 0.75
    width, height = left + WIDTH_IN + MARGIN_IN, header + pitch * len(layers) + MARGIN_IN
    figure = Figure(figsize=(width, height), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(left, 0.25, f"{network.name}: {network.count_params():,} parameters", va="center", fontsize=12, weight="bold")
    columns = ((0.1, "left"), (2.7, "left"), (6.4, "right"), (WIDTH_IN - 0.1, "right"))
    for (x, side), text in zip(columns, ("layer", "kind", "output", "parameters"), strict=True):
        axes.text(left + x, 0.57, text, va="center", ha=side, fontsize=8, color=LINE)

    def middle(index: int) -> float:
        return header + pitch * index + ROW_IN / 2

    for index, layer in enumerate(layers):
        kind = type(layer).__name__
        colour = next((colour for word, colour in COLOURS if word in kind), OTHER_COLOUR)
        corner = (left, middle(index) - ROW_IN / 2)
        style = "round,pad=0,rounding_size=0.05"
        axes.add_patch(FancyBboxPatch(corner, WIDTH_IN, ROW_IN, style, facecolor=colour, edgecolor=LINE, linewidth=0.8))
        parameters = f"{layer.count_params():,}" if layer.count_params() else ""
        texts = (layer.name.removeprefix("tf.__operators__."), kind, _shape(layer), parameters)
        for (x, side), text in zip(columns, texts, strict=True):
            axes.text(left + x, middle(index), text, va="center", ha=side, fontsize=8.5)
    for index, layer in enumerate(layers):
        for source in sorted(row[parent] for parent in _parents(layer) if parent in row):
            if source == index - 1:
                x = left + WIDTH_IN / 2
                _arrow(axes, [(x, middle(source) + ROW_IN / 2), (x, middle(index) - ROW_IN / 2)])
            else:
                x = left - LANE_IN * (lanes[source] + 1)
                start, end = middle(source) + 0.05, middle(index) - 0.05
                _arrow(axes, [(left, start), (x, start), (x, end), (left, end)])
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Renders a figure: uint8 [height, width, 4]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _in_order(network: keras.Model) -> list[keras.layers.Layer]:
    """Each layer after all that it takes from, and where possible right after one of them."""
    names = {layer.name for layer in network.layers}
    waiting = list(network.layers)
    placed: list[keras.layers.Layer] = []
    while waiting:
        done = {layer.name for layer in placed}
        ready = [layer for layer in waiting if (_parents(layer) & names) <= done]
        following = [layer for layer in ready if placed and placed[-1].name in _parents(layer)]
        placed.append((following or ready)[0])
        waiting.remove(placed[-1])
    return placed


def _parents(layer: keras.layers.Layer) -> set[str]:
    return {parent.layer.name for node in layer.inbound_nodes for parent in node.parent_nodes}


def _lanes(layers: Sequence[keras.layers.Layer], row: dict[str, int]) -> dict[int, int]:
    """The lane of each row from which a line leads past others: one for all lines of a row, the shortest next to the boxes."""
    ends: dict[int, int] = {}
    for index, layer in enumerate(layers):
        for source in (row[parent] for parent in _parents(layer) if parent in row):
            if source != index - 1:
                ends[source] = max(index, ends.get(source, 0))
    lanes: dict[int, int] = {}
    for source, end in sorted(ends.items(), key=lambda line: line[1] - line[0]):
        taken = {lane for other, lane in lanes.items() if source <= ends[other] and other <= end}
        lanes[source] = next(lane for lane in range(len(ends)) if lane not in taken)
    return lanes


def _shape(layer: keras.layers.Layer) -> str:
    shape = layer.get_output_shape_at(0)
    # An input layer makes a list of one; of a layer with several outputs the first is enough.
    shape = next(iter(shape.values())) if isinstance(shape, dict) else shape
    sizes: Any = shape[0] if isinstance(shape, list) else shape
    return " \N{MULTIPLICATION SIGN} ".join("?" if size is None else str(size) for size in sizes[1:])


def _arrow(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    axes.add_patch(FancyArrowPatch(path=Path(points), arrowstyle="-|>", mutation_scale=7, color=LINE, linewidth=0.9, shrinkA=0))
