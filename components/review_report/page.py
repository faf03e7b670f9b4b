"""The report as one self-contained HTML page."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np

from beam_jobs.examples import Clip
from beam_jobs.html_pages import TEMPLATES as BASE_TEMPLATES
from beam_jobs.html_pages import label_colors, player_source, waveform_and_mel_spectrogram
from components.evaluator.clip_metrics import predicted_classes
from components.gate.result import Check, Compared, GateResult, Slice, metric_name
from components.review_report import charts, curves, degraded
from components.review_report.formatting import (
    LOWER_IS_BETTER,
    decimal,
    direction,
    interval,
    signed,
    signed_interval,
    the,
    verdict,
)
from components.review_report.inputs import ReportInputs, config_diff, flat, mistakes

TEMPLATES = Path(__file__).parent / "templates"
MAX_BYTES = 5_000_000
MAX_MEDIA_BYTES = 4_000_000
"""Of all players and pictures together; the rest of the page needs some 300 kB."""
CLIP_S = 20.0
"""How much of a clip is played and drawn."""
MAX_SPEAKERS = 12
MAX_REASONS = 6
NUM_TIGHTEST = 5
"""Thresholds that are shown at once where all hold."""


def render_report(inputs: ReportInputs) -> str:
    """The page as text, less than `MAX_BYTES` of UTF-8.

    Raises:
        ValueError: the page is larger all the same.
    """
    loader = jinja2.FileSystemLoader([TEMPLATES, BASE_TEMPLATES])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "decimal": decimal,
        "signed": signed,
        "interval": interval,
        "signed_interval": signed_interval,
    }
    gate, decided = inputs.gate, inputs.decided or inputs.gate
    status, sentence = verdict(decided)
    overall = gate.slices[0] if gate.slices else None
    cards = _cards(inputs)
    page = environment.get_template("report.html").render(
        inputs=inputs,
        label_colors=label_colors(),
        gate=gate,
        decided=decided,
        status=status,
        sentence=sentence,
        overall=overall,
        overall_rows=_with_spans(overall.metrics if overall else []),
        compared=overall is not None and any(item.baseline for item in overall.metrics),
        paired=overall is not None and any(item.difference for item in overall.metrics),
        failing=sorted((check for check in decided.checks if not check.ok), key=_order),
        holding=sorted((check for check in decided.checks if check.ok), key=_order),
        slices=[_slice_row(item, gate) for item in gate.slices],
        **degraded.shown(inputs),
        matrices=_matrices(inputs, overall),
        figures=_charts(inputs),
        cards=cards,
        num_mistakes=int((predicted_classes(inputs.predictions.candidate) != inputs.predictions.labels).sum()),
        speakers=_speakers(inputs),
        max_speakers=MAX_SPEAKERS,
        max_reasons=MAX_REASONS,
        num_tightest=NUM_TIGHTEST,
        num_deciding=sum(check.decides for check in decided.checks),
        diff=None if inputs.baseline_config is None else config_diff(inputs.config, inputs.baseline_config),
        settings=flat(inputs.config),
        metric_name=metric_name,
        direction=direction,
        the=the,
        num_clips=sum(sum(counts.values()) for counts in inputs.dataset.counts.values()),
        num_speakers=len({speaker for speakers in inputs.dataset.speakers.values() for speaker in speakers}),
    )
    if (size := len(page.encode())) > MAX_BYTES:
        raise ValueError(f"the report has {size} bytes, more than {MAX_BYTES}")
    return page


def _order(check: Check) -> tuple[bool, float]:
    """Checks that decide first, and of them the tightest."""
    return (not check.decides, np.inf if check.margin is None else check.margin)


def _with_spans(metrics: Sequence[Compared]) -> list[tuple[Compared, dict[str, float] | None]]:
    """Each metric, and where the interval of its difference lies on a scale from worse (0) over equal (50) to better (100)."""
    bounds = [abs(end) for item in metrics if item.difference for end in (item.difference.low, item.difference.high) if end]
    most = max(bounds, default=0.0) or 1.0

    def span(item: Compared) -> dict[str, float] | None:
        difference, sign = item.difference, -1 if item.metric in LOWER_IS_BETTER else 1
        if difference is None or difference.value is None or difference.low is None or difference.high is None:
            return None
        low, value, high = sorted(50 + 48 * sign * end / most for end in (difference.low, difference.value, difference.high))
        return {"left": low, "width": high - low, "value": value}

    return [(item, span(item)) for item in metrics]


def _slice_row(item: Slice, gate: GateResult) -> dict[str, Any]:
    classes = gate.classes
    by_name = {(metric.metric, metric.class_name): metric for metric in item.metrics}
    # With two classes the AUC of the one is that of the other.
    return {
        "item": item,
        "accuracy": by_name.get(("accuracy", None)),
        "auc": by_name.get(("auc", classes[-1])) if len(classes) == 2 else None,
        "ece": by_name.get(("ece", None)),
        "few": any(check.slice == item.name and check.metric == "accuracy" and not check.decides for check in gate.checks),
    }


def _matrices(inputs: ReportInputs, overall: Slice | None) -> list[tuple[str, list[list[tuple[int, float]]]]]:
    if overall is None:
        return []
    found = [(inputs.candidate_name, overall.confusion_matrix)]
    if overall.baseline_confusion_matrix is not None:
        found.append((inputs.baseline_name, overall.baseline_confusion_matrix))
    return [(name, [[(count, count / max(1, sum(row))) for count in row] for row in matrix]) for name, matrix in found]


def _charts(inputs: ReportInputs) -> list[dict[str, Any]]:
    gate, scores = inputs.gate, inputs.scores()
    two = len(gate.classes) == 2
    numbers = [1] if two else list(range(len(gate.classes)))
    mirrored = f" With two classes the curve of {gate.classes[0]} is its mirror image." if two else ""
    found: list[dict[str, Any]] = []
    for number in numbers:
        name = gate.classes[number]
        if roc := [curve for item in scores if (curve := curves.roc(item, number))]:
            svg = charts.curves(roc, "False positive rate", "True positive rate", step=False, diagonal=True)
            columns = ("model", "AUC", *(f"at recall {recall:g}" for recall in curves.RECALLS))
            note = f"How many clips of others are taken for {name} where so many of {name} are found.{mirrored}"
            found.append(_chart(f"ROC of {name}", note, svg, columns, [_curve_row(curve) for curve in roc]))
        if recall := [curve for item in scores if (curve := curves.precision_recall(item, number))]:
            svg = charts.curves(recall, "Recall", "Precision", step=True)
            columns = ("model", "average", *(f"at recall {recall:g}" for recall in curves.RECALLS))
            note = f"Of the clips called {name}, the share that is, over the share of {name} that is found."
            found.append(_chart(f"Precision and recall of {name}", note, svg, columns, [_curve_row(item) for item in recall]))
    if bins := [item for model in scores for item in curves.reliability(model)]:
        svg = charts.reliability(bins, [item.model for item in scores], 1 / len(gate.classes))
        in_bins = [
            (item.model, f"{item.low:.2f} to {item.high:.2f}", str(item.clips), f"{item.confidence:.3f}", f"{item.accuracy:.3f}")
            for item in bins
        ]
        note = "On the dotted line a model is as sure as it is right; below it, too sure. Dots grow with the number of clips."
        found.append(_chart("Reliability", note, svg, ("model", "confidence", "clips", "mean", "right"), in_bins))
    for number in numbers:
        name = gate.classes[number]
        counts = curves.score_histogram(scores[0], number, gate.classes)
        num_bins = len(next(iter(counts.values())))
        rows = [
            (f"{k / num_bins:.2f} to {(k + 1) / num_bins:.2f}", *(str(values[k]) for values in counts.values()))
            for k in range(num_bins)
        ]
        note = f"What {the(inputs.candidate_name)} says of clips of each label; the fewer in the middle, the clearer."
        svg = charts.histogram(counts, name)
        found.append(_chart(f"Scores for {name}", note, svg, (f"probability of {name}", *counts), rows))
    return found + _training_charts(inputs.history)


def _training_charts(history: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    found = []
    for metric in ("loss", "accuracy"):
        rows = [
            {"epoch": row["epoch"], "split": split, "value": row[f"{split}_{metric}"]}
            for row in history
            for split in ("train", "eval")
            if np.isfinite(row.get(f"{split}_{metric}", np.nan))
        ]
        if rows:
            table = [
                (f"{row['epoch']:.0f}", *(decimal(row.get(f"{split}_{metric}")) for split in ("train", "eval")))
                for row in history
            ]
            note = "On the clips that it learns from, and on those of the eval speakers, whom it never hears in training."
            svg = charts.training(rows, metric.capitalize())
            found.append(_chart(f"Training: {metric}", note, svg, ("epoch", "train", "eval"), table))
    return found


def _chart(title: str, note: str, svg: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    # The drawing is Vega's own markup, which escapes what it writes; the rest is escaped by the template.
    head, body = svg.split(">", 1)
    labelled = f'{head} role="img"><title>{html.escape(title)}</title><desc>{html.escape(note)}</desc>{body}'
    return {
        "title": title,
        "note": note,
        "svg": markupsafe.Markup(labelled),  # noqa: S704
        "columns": columns,
        "rows": rows,
    }


def _curve_row(curve: curves.Curve) -> tuple[str, ...]:
    return (curve.model, f"{curve.area:.4f}", *(f"{value:.3f}" for value in curve.at.values()))


def _cards(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The worst clips, as many as fit."""
    predictions, classes = inputs.predictions, inputs.gate.classes
    position = {clip_id: k for k, clip_id in enumerate(predictions.ids)}
    predicted = predicted_classes(predictions.candidate)
    cards, size = [], 0
    for clip_id in mistakes(predictions):
        k = position[clip_id]
        label = int(predictions.labels[k])
        media = _media(inputs.clips.get(clip_id))
        size += sum(len(value) for value in media.values() if isinstance(value, str))
        if size > MAX_MEDIA_BYTES:
            break
        cards.append(
            {
                "id": clip_id,
                "label": classes[label],
                "predicted": classes[predicted[k]] if predicted[k] >= 0 else "no class",
                "score": float(predictions.candidate[k, label]),
                "baseline_score": None if predictions.baseline is None else float(predictions.baseline[k, label]),
                "speakers": list(dict.fromkeys(predictions.speaker_ids[k])),
                "utterances": list(predictions.utterance_ids[k]),
                "mode": predictions.modes[k],
                "rms_dbfs": float(predictions.rms_dbfs[k]),
                "speech_ratio": float(predictions.speech_ratio[k]),
                **media,
            }
        )
    return cards


def _media(clip: Clip | None) -> dict[str, Any]:
    if clip is None:
        return {"player": None, "picture": None, "shown_s": None, "duration_s": None}
    rate_hz = clip.sample_rate_hz
    samples = clip.pcm16[: round(CLIP_S * rate_hz)].astype(np.float32) / np.float32(32768)
    return {
        "player": player_source(samples, rate_hz),
        "picture": waveform_and_mel_spectrogram(samples, rate_hz),
        "shown_s": len(samples) / rate_hz,
        "duration_s": len(clip.pcm16) / rate_hz,
    }


def _speakers(inputs: ReportInputs) -> list[curves.SpeakerErrors]:
    predictions = inputs.predictions
    return curves.speaker_errors(
        predictions.speaker_ids, predictions.labels, predictions.candidate, predictions.baseline, inputs.gate.classes
    )
