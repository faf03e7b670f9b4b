"""Self-contained HTML pages: the templates, and sound and its picture as data URIs."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import librosa
import librosa.display
import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, ScalarFormatter

from beam_jobs.audio import resample
from beam_jobs.mixing import Samples

TEMPLATES = Path(__file__).parent / "templates"
MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def render_page(template: str, **values: Any) -> str:
    """Fills in one of the templates."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(**values)


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
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    _draw_mel_spectrogram(figure, figure.subplots(), samples, sample_rate_hz, n_mels, f_max_hz)
    return _png(figure)


def waveform_and_mel_spectrogram(samples: Samples, sample_rate_hz: int, n_mels: int = 96, f_max_hz: float = 8000.0) -> str:
    """A waveform and, below it on the same time axis, the mel spectrogram, as a PNG data URI."""
    # Small and then magnified, so that the letters can be read on a telephone too.
    figure = Figure(figsize=(5, 3), layout="constrained")
    wave, mel = figure.subplots(2, sharex=True, height_ratios=(1, 2))
    librosa.display.waveshow(samples, sr=sample_rate_hz, ax=wave, axis=None, color="tab:blue")
    wave.set(ylabel="amplitude", ylim=(-1, 1))
    _draw_mel_spectrogram(figure, mel, samples, sample_rate_hz, n_mels, f_max_hz)
    return _png(figure, dpi=180)


def _draw_mel_spectrogram(
    figure: Figure, axes: Axes, samples: Samples, sample_rate_hz: int, n_mels: int, f_max_hz: float
) -> None:
    hop_length = max(256, len(samples) // 1200)  # one column a pixel is enough
    f_max_hz = min(f_max_hz, sample_rate_hz / 2)
    power = librosa.feature.melspectrogram(
        y=samples, sr=sample_rate_hz, n_fft=1024, hop_length=hop_length, n_mels=n_mels, fmax=f_max_hz
    )
    image = librosa.display.specshow(
        librosa.power_to_db(power, ref=np.max), sr=sample_rate_hz, hop_length=hop_length, fmax=f_max_hz,
        x_axis="time", y_axis="mel", ax=axes,
    )  # fmt: skip
    # librosa's own formatter writes 10.5 s as 10.
    axes.xaxis.set_major_locator(AutoLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set(xlabel="seconds", ylabel="Hz", xlim=(0, len(samples) / sample_rate_hz))
    figure.colorbar(image, ax=axes, format="%+.0f dB")


def _png(figure: Figure, dpi: int = 90) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return _data_uri("image/png", file.getvalue())


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
