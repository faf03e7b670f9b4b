# SPDX-License-Identifier: Apache-2.0
"""Self-contained HTML pages: the templates, and sound and its picture as data URIs."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import librosa
import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from beam_jobs.audio import resample
from beam_jobs.labels import MAX_LABELS
from beam_jobs.mixing import Samples

TEMPLATES = Path(__file__).parent / "templates"
FIRST_COLORS = ("light-dark(#23629f, #7fb5ea)", "light-dark(#a8326e, #e58abb)", "light-dark(#6b4fa0, #b49be6)")
GOLDEN_ANGLE = 137.5
"""Degrees by which each further label's hue is turned: none of them comes near the one before."""
MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MAX_COLUMNS = 1200
"""Of a picture: one a pixel is enough."""
TICKS_HZ = (0, 512, 1024, 2048, 4096, 8000, 16_000)


def render_page(template: str, **values: Any) -> str:
    """Fills in one of the templates."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(label_colors=label_colors(), **values)


def label_color(position: int) -> str:
    """The CSS colour of the label at a position: a variable that `label_colors` sets."""
    return f"var(--label-{position})"


def label_colors() -> str:
    """CSS variables with a colour for each label that there may be, dark on a light page and light on a dark one."""
    further = (round(90 + k * GOLDEN_ANGLE) % 360 for k in range(MAX_LABELS + 1 - len(FIRST_COLORS)))
    colors = (*FIRST_COLORS, *(f"light-dark(hsl({hue} 55% 33%), hsl({hue} 60% 72%))" for hue in further))
    return " ".join(f"--label-{position}: {color};" for position, color in enumerate(colors))


def player_source(samples: Samples, sample_rate_hz: int) -> str:
    """Mono samples as an MP3 data URI, which every browser plays at a tenth of a WAV's size."""
    if sample_rate_hz not in MP3_RATES_HZ:
        rate_hz = next((rate_hz for rate_hz in MP3_RATES_HZ if rate_hz > sample_rate_hz), MP3_RATES_HZ[-1])
        samples, sample_rate_hz = resample(samples, sample_rate_hz, rate_hz), rate_hz
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format="MP3")
    return _data_uri("audio/mpeg", file.getvalue())


def mel_spectrogram(samples: Samples, sample_rate_hz: int, n_mels: int = 96, f_max_hz: float = 8000.0) -> str:
    """A mel spectrogram in dB over time as a PNG data URI (librosa's `melspectrogram`, Slaney's mel scale)."""
    figure = Figure(figsize=(9, 2.2))
    figure.subplots_adjust(left=0.09, right=1.04, bottom=0.23, top=0.96)
    axes = figure.subplots()
    image = _draw_mel_spectrogram(axes, samples, sample_rate_hz, n_mels, f_max_hz)
    figure.colorbar(image, ax=axes, format="%+.0f dB", pad=0.02)
    return _png(figure)


def waveform_and_mel_spectrogram(samples: Samples, sample_rate_hz: int, n_mels: int = 96, f_max_hz: float = 8000.0) -> str:
    """A waveform and, below it on the same time axis, the mel spectrogram, as a PNG data URI."""
    # Small and then magnified, so that the letters can be read on a telephone too. Fixed margins: matplotlib's layout engines
    # draw every picture twice.
    figure = Figure(figsize=(5, 3))
    figure.subplots_adjust(left=0.14, right=0.98, bottom=0.16, top=0.97, hspace=0.12)
    wave, mel = figure.subplots(2, sharex=True, height_ratios=(1, 2))
    _draw_waveform(wave, samples, sample_rate_hz)
    image = _draw_mel_spectrogram(mel, samples, sample_rate_hz, n_mels, f_max_hz)
    figure.colorbar(image, ax=[wave, mel], format="%+.0f dB", pad=0.03)
    return _png(figure, dpi=180)


def _draw_waveform(axes: Axes, samples: Samples, sample_rate_hz: int) -> None:
    # What lies in a column of pixels is drawn as the range from its lowest to its highest sample.
    starts = np.linspace(0, len(samples), min(len(samples), MAX_COLUMNS), endpoint=False, dtype=int)
    lowest, highest = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    axes.fill_between(starts / sample_rate_hz, lowest, highest, color="tab:blue", linewidth=0.5)
    axes.set(ylabel="amplitude", ylim=(-1, 1))
    axes.tick_params(labelbottom=False)


def _draw_mel_spectrogram(axes: Axes, samples: Samples, sample_rate_hz: int, n_mels: int, f_max_hz: float) -> AxesImage:
    hop_length = max(256, len(samples) // MAX_COLUMNS)
    f_max_hz = min(f_max_hz, sample_rate_hz / 2)
    power = librosa.feature.melspectrogram(
        y=samples, sr=sample_rate_hz, n_fft=1024, hop_length=hop_length, n_mels=n_mels, fmax=f_max_hz
    )
    duration_s = len(samples) / sample_rate_hz
    image = axes.imshow(
        librosa.power_to_db(power, ref=np.max),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        extent=(0, duration_s, 0, n_mels),
    )
    # Band k lies from k to k + 1 and is centred on frequency k + 1 of these.
    frequencies_hz = librosa.mel_frequencies(n_mels + 2, fmin=0, fmax=f_max_hz)
    ticks_hz = np.array([hz for hz in TICKS_HZ if hz <= f_max_hz])
    axes.set_yticks(np.interp(ticks_hz, frequencies_hz, np.arange(n_mels + 2) - 0.5).clip(0, n_mels), ticks_hz.astype(str))
    axes.set(xlabel="seconds", ylabel="Hz", ylim=(0, n_mels))
    return image


def _png(figure: Figure, dpi: int = 90) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return _data_uri("image/png", file.getvalue())


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
