"""What can be decoded is mono float32 at its own rate; what cannot is refused in words."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.audio import AudioError, read_audio, resample


@pytest.fixture
def speech(make_tone: Callable[..., np.ndarray]) -> np.ndarray:
    """Two seconds at 16 kHz."""
    return make_tone(150, 2.0)


def reason(path: Path, *part: int) -> str:
    """Why it is refused: the same for a path and for an open file."""
    with pytest.raises(AudioError) as by_path:
        read_audio(str(path), *part)
    with pytest.raises(AudioError) as by_file:
        read_audio(io.BytesIO(path.read_bytes()), *part)
    assert str(by_path.value) == str(by_file.value)
    return str(by_path.value)


@pytest.mark.parametrize(
    ("name", "subtype", "step"), [("a.flac", "PCM_16", 2**-15), ("a.flac", "PCM_24", 2**-23), ("a.wav", "FLOAT", 0)]
)
def test_depths(tmp_path: Path, speech: np.ndarray, name: str, subtype: str, step: float) -> None:
    soundfile.write(tmp_path / name, speech, 16_000, subtype=subtype)

    samples, rate_hz = read_audio(str(tmp_path / name))

    assert (samples.dtype, samples.shape, rate_hz) == (np.float32, (32_000,), 16_000)
    assert np.abs(samples - speech).max() <= step


def test_stereo_is_mixed_down(tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", np.stack([speech, -speech / 2], axis=1), 16_000, subtype="PCM_24")

    samples, _ = read_audio(str(tmp_path / "a.flac"))

    assert samples == pytest.approx(speech / 4, abs=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_a_file_of_another_rate_is_resampled(tmp_path: Path, make_tone: Callable[..., np.ndarray], rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.flac", make_tone(150, 2.0, sample_rate_hz=rate_hz), rate_hz)

    samples, found_hz = read_audio(str(tmp_path / "a.flac"))
    resampled = resample(samples, found_hz, 16_000)

    assert found_hz == rate_hz
    assert (resampled.dtype, len(resampled)) == (np.float32, 32_000)
    spectrum = np.abs(np.fft.rfft(resampled[8000:24_000] * np.hanning(16_000)))
    assert spectrum[100:200].argmax() + 100 == pytest.approx(150, abs=3)


def test_equal_rates_change_nothing(speech: np.ndarray) -> None:
    assert resample(speech, 16_000, 16_000) is speech


def test_a_part_is_what_the_whole_holds_there(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, 16_000)
    whole, _ = read_audio(str(path))

    for start, num_samples in ((0, 1), (5_000, 12_345), (31_999, 1)):
        part, _ = read_audio(str(path), start, num_samples)
        remote, _ = read_audio(io.BytesIO(path.read_bytes()), start, num_samples)
        assert np.array_equal(part, whole[start : start + num_samples])
        assert np.array_equal(remote, part)


def test_a_path_with_spaces_and_non_ascii_letters(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "ein Örtchen 声" / "ü b.flac"
    path.parent.mkdir()
    soundfile.write(path, speech, 16_000)

    assert len(read_audio(str(path))[0]) == 32_000


def test_a_text_file_named_flac(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_text("I am no audio.\n" * 100)

    assert reason(tmp_path / "a.flac") == "cannot be decoded: format not recognised"


def test_a_flac_cut_in_the_middle_is_usable_up_to_there(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert len(read_audio(str(path), 0, 4_000)[0]) == 4_000
    assert reason(path).startswith("cannot be decoded")
    assert reason(path, 8_000, 20_000).startswith(("cannot be decoded", "ends "))
    assert reason(path, 30_000, 1_000).startswith(("cannot be decoded", "ends "))


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
def test_zero_samples(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, np.zeros(0, np.float32), 16_000)

    assert reason(tmp_path / name) in ("holds no samples", "cannot be decoded: format not recognised")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(tmp_path: Path, speech: np.ndarray, bad: float) -> None:
    speech[1000] = bad
    soundfile.write(tmp_path / "a.wav", speech, 16_000, subtype="FLOAT")

    assert reason(tmp_path / "a.wav") == "holds NaN or infinite samples"
    assert len(read_audio(str(tmp_path / "a.wav"), 2_000)[0]) == 30_000


def test_a_part_beyond_the_end(tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", speech, 16_000)

    assert reason(tmp_path / "a.wav", 31_000, 1_500) == "ends 500 samples early"


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot be decoded"):
        read_audio(str(tmp_path / "a.flac"))
