# SPDX-License-Identifier: Apache-2.0
"""The WAV parser of the exported model, against libsndfile and CPython's G.711, and on what recorders really write."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from components.trainer.network.wav import open_wav

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

CASES = next((found for folder in Path(__file__).parents if (found := folder / "shared/cases/wav").is_dir()), None)
SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]


@tf.function(input_signature=[tf.TensorSpec([None], tf.string), *[tf.TensorSpec([], tf.int64)] * 2], autograph=False)
def read(contents, start, length):
    sound = open_wav(contents, 1)
    return sound.read(start, length), sound.samples, sound.rate_hz, sound.error


def decode(content, start=0, length=None):
    """Samples, sample rate and error of the middle one of three files."""
    batch = [b"another", content, b""]
    length = int(read(batch, 0, 0)[1]) if length is None else length
    samples, _, rate_hz, error = read(batch, start, length)
    return samples.numpy(), int(rate_hz), error.numpy().decode()


def write(samples, subtype="PCM_16", form="WAV", rate_hz=16000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks, form=b"RIFF"):
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body)) + body


FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16))
NOISE = np.random.default_rng(1).uniform(-0.99, 0.99, [1001, 16])
PCM16 = np.rint(NOISE[:, 0] * 32767).astype("<i2")


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("channels", [1, 2, 16])
def test_every_encoding_is_read_as_libsndfile_reads_it(subtype, form, channels):
    content = write(NOISE[:, :channels], subtype, form, 11025)
    expected, _ = soundfile.read(io.BytesIO(content), always_2d=True)

    samples, rate_hz, error = decode(content)

    assert (rate_hz, error) == (11025, "")
    assert samples == pytest.approx(expected.mean(axis=1), abs=2e-7)


@pytest.mark.parametrize(("tag", "expand"), [(6, audioop.alaw2lin), (7, audioop.ulaw2lin)])
def test_every_code_of_g711_is_what_cpython_makes_of_it(tag, expand):
    codes = bytes(range(256))
    content = riff(chunk(b"fmt ", struct.pack("<HHIIHH", tag, 1, 8000, 8000, 1, 8)), chunk(b"data", codes))

    samples, _, error = decode(content)

    assert error == ""
    assert (samples * 32768).tolist() == np.frombuffer(expand(codes, 2), "<i2").tolist()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(riff(chunk(b"LIST", b"odd"), FMT, chunk(b"data", PCM16.tobytes())), id="a chunk of odd length"),
        pytest.param(riff(FMT, chunk(b"data", PCM16.tobytes()), chunk(b"LIST", b"INFO" * 50)), id="a chunk after the samples"),
        pytest.param(riff(FMT, b"data" + bytes(4) + PCM16.tobytes()), id="size 0 of a pipe"),
        pytest.param(riff(FMT, b"data" + b"\xff" * 4 + PCM16.tobytes()), id="greatest size of a pipe"),
        pytest.param(riff(FMT, b"data" + struct.pack("<I", 9999) + PCM16.tobytes()), id="cut short"),
        pytest.param(riff(FMT, b"data" + struct.pack("<I", 9999) + PCM16.tobytes() + b"x"), id="cut within a sample"),
        pytest.param(
            riff(
                chunk(b"ds64", struct.pack("<QQQI", 0, PCM16.nbytes, 0, 0)),
                FMT,
                b"data" + b"\xff" * 4 + PCM16.tobytes(),
                chunk(b"LIST", b"INFO" * 50),
                form=b"RF64",
            ),
            id="RF64 with a chunk after the samples",
        ),
        pytest.param(riff(*[chunk(b"junk", b"")] * 60, FMT, chunk(b"data", PCM16.tobytes())), id="many chunks"),
    ],
)
def test_what_recorders_write(content):
    samples, rate_hz, error = decode(content)

    assert (rate_hz, error) == (16000, "")
    assert (samples * 32768).tolist() == PCM16.tolist()


@pytest.mark.skipif(CASES is None, reason="shared/cases is not there")
@pytest.mark.parametrize("name", ["ext16", "list_odd", "data_size_0", "riff_and_data_ffffffff"])
def test_files_that_people_reported_hold_the_same_audio(name):
    expected, _, _ = decode((CASES / "ref.wav").read_bytes())

    samples, rate_hz, error = decode((CASES / f"{name}.wav").read_bytes())

    assert (rate_hz, error) == (16000, "")
    assert len(samples) == 80000
    assert samples == pytest.approx(expected, abs=1.01 / 32768)


@given(start=st.integers(-3000, 3000), length=st.integers(0, 3000))
def test_a_stretch_is_read_with_zeros_beyond_both_ends(start, length):
    expected = np.pad(PCM16, 6000)[6000 + start :][:length]

    samples, _, _ = decode(write(PCM16), start, length)

    assert (samples * 32768).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a WAV file"),
        (b"RIFF", "not a WAV file"),
        (b"RIFX" + riff(FMT)[4:], "not a WAV file"),
        (b"fLaC" + bytes(100), "not a WAV file"),
        (riff(), "not a WAV file that says its format: no fmt chunk"),
        (riff(FMT), "a WAV file without samples: no data chunk"),
        (riff(*[chunk(b"junk", b"")] * 64, FMT), "not a WAV file that says its format: no fmt chunk"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(content, message):
    _, _, error = decode(content)

    assert error == message


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
def test_encodings_that_are_not_read_are_named(subtype):
    _, _, error = decode(write(NOISE[:, :1], subtype))

    assert error.startswith("unsupported WAV encoding: format tag ")
    assert "PCM of 8, 16, 24 or 32 bits, float of 32 or 64 bits, A-law and mu-law are read" in error
