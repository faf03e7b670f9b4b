# SPDX-License-Identifier: Apache-2.0
"""Sound that comes as it is made: stdin and the microphone, as streams."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from beam_jobs.audio_stream import WAV_PCM, AudioStream, WavFormat, read_wav_header, stream_of
from beam_jobs.errors import UserError

RECORDER = "arecord"


@contextmanager
def stdin_file() -> Iterator[str]:
    """The path of a file with all of stdin: decoders go back and forth in it."""
    _check_stdin()
    with tempfile.NamedTemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield file.name


def stdin_stream(sample_rate_hz: int) -> AudioStream:
    """What comes through stdin: WAV with its header, else 16-bit little-endian PCM, mono, at `sample_rate_hz`.

    Raises:
        AudioError: it is WAV of an encoding that is not read.
        UserError: nothing is piped into this process.
    """
    _check_stdin()
    stdin = sys.stdin.buffer
    start = stdin.read(12)
    if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
        return stream_of(stdin, read_wav_header(stdin, start))
    return stream_of(stdin, WavFormat(WAV_PCM, 1, sample_rate_hz, 16), start)


@contextmanager
def microphone(sample_rate_hz: int) -> Iterator[AudioStream]:
    """The system's recording device, by ALSA's `arecord`.

    Raises:
        UserError: there is none, or no arecord.
    """
    if not shutil.which(RECORDER):
        raise UserError("--microphone needs arecord, which is not installed (Debian: apt-get install alsa-utils)")
    sound = WavFormat(WAV_PCM, 1, sample_rate_hz, 16)
    command = [RECORDER, "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(sample_rate_hz)]
    with tempfile.TemporaryFile() as messages, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages) as process:
        assert process.stdout is not None
        try:
            start = process.stdout.read(sound.frame_bytes)
            if not start:
                process.wait()
                messages.seek(0)
                lines = messages.read().decode(errors="replace").splitlines()
                reason = next((line.split(": ", 2)[-1] for line in lines if line.startswith(RECORDER)), "it records nothing")
                raise UserError(f"no microphone: {RECORDER}: {reason}; `{RECORDER} -l` lists recording devices")
            yield stream_of(process.stdout, sound, start)
        finally:
            process.kill()


def _check_stdin() -> None:
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(
            "-: nothing is piped into this command; try for example `ffmpeg -i voice.m4a -f wav - | audio-gender predict -`"
        )
