# SPDX-License-Identifier: Apache-2.0
"""What a YAML file may say about the model and its training."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from beam_jobs.config import Range, Share, Strict

HIGHEST_MEL_HZ = 7600.0
CELL = 8
"""STFT frames in one cell of time of every network: three strides of 2."""


class AugmentConfig(Strict):
    """How the spectrograms of training, and only these, are changed. Shares are of the clips to which an effect is applied."""

    equalizer_db: Annotated[float, Field(ge=0, le=20)] = 6.0
    """Largest deviation of the slowest wave of a random frequency response; 0 is off."""
    noise_share: Share = 0.7
    """Share of clips with steady noise of a random colour."""
    noise_snr_db: Range = Range(min=0.0, max=45.0)
    """Signal-to-noise ratio of that noise."""
    background_share: Share = 0.2
    """Share of clips with babble of five other clips underneath, and as many with a sound that is not speech."""
    background_snr_db: Range = Range(min=0.0, max=25.0)
    """Signal-to-noise ratio of that background."""
    band_limit_share: Share = 0.4
    """Share of clips that lose their highest bands; half as many lose their lowest."""
    mask_share: Share = 0.5
    """Share of clips in which some bands are hidden."""
    mask_bands: Share = 0.19
    """Largest share of the bands that is hidden."""


class ModelConfig(Strict):
    """The kapre front end and the network behind it."""

    architecture: Literal["conv3d", "cnn2d", "crnn", "prototype"] = "conv3d"
    """Network behind the front end ([the network](../network.md#architectures))."""
    n_fft: Annotated[int, Field(ge=64, le=16384)] = 512
    """STFT window in samples: 32 ms at 16 kHz."""
    hop_length: Annotated[int, Field(ge=16)] = 320
    """STFT hop in samples: 20 ms at 16 kHz."""
    n_mels: Annotated[int, Field(ge=8, le=512)] = 64
    """Mel bands."""
    mel_f_min_hz: Annotated[float, Field(ge=0)] = 60.0
    """Lower edge of the mel bands."""
    mel_f_max_hz: Annotated[float, Field(gt=0)] | None = None
    """Upper edge of the mel bands; null: 7600, or half the sample rate if that is lower."""
    frame_length: Annotated[int, Field(ge=CELL, le=4096, multiple_of=CELL)] = 64
    """STFT frames in one frame of `conv3d` and `prototype`, a multiple of 8."""
    filters: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=4, max_length=4)] = [24, 32, 48, 64]
    """Filters of the four blocks; the last of `crnn` are the LSTM's units."""
    embedding: Annotated[int, Field(ge=1, le=4096)] = 96
    """Channels of a cell (8 STFT frames) after the blocks."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout on the pooled embedding, and half of it on the cells' channels."""
    skip_pauses: bool = True
    """Take pauses out of a recording before classifying it; set false if rhythm tells sounds apart."""
    augment: AugmentConfig = AugmentConfig()
    """What training does to the spectrograms of its crops; serving and evaluation leave them unchanged."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length {self.hop_length} is longer than n_fft {self.n_fft} and would skip samples")
        if self.mel_f_max_hz is not None and self.mel_f_min_hz >= self.mel_f_max_hz:
            raise ValueError(f"mel_f_min_hz {self.mel_f_min_hz:g} is not below mel_f_max_hz {self.mel_f_max_hz:g}")
        return self

    def highest_mel_hz(self, sample_rate_hz: int) -> float:
        """The upper end of the mel bands at a sample rate."""
        return min(HIGHEST_MEL_HZ, sample_rate_hz / 2) if self.mel_f_max_hz is None else self.mel_f_max_hz


class TrainConfig(Strict):
    """How the network is trained."""

    epochs: Annotated[int, Field(ge=1)] = 30
    """Most epochs to train for."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Clips per replica and step: the global batch is this times the number of replicas."""
    crop_s: Annotated[float, Field(gt=0)] = 3.0
    """Length of the random crop of a clip that a step hears."""
    min_crop_s: Annotated[float, Field(gt=0)] | None = None
    """With it, each batch draws its crop length between this and `crop_s`; not on a TPU, whose shapes are static."""
    not_speech_share: Annotated[float, Field(ge=0, le=0.5)] = 0.15
    """Noises, tones and music added to each batch, from which the speech detector learns; 0: every sound counts as speech."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak of AdamW's schedule: warm-up, then half a cosine."""
    scale_learning_rate: bool = False
    """Multiply the learning rate by the number of replicas."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """AdamW's weight decay."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    """Label smoothing; too much of it makes the model less confident than it is accurate."""
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = 8
    """Epochs without a better eval loss before training stops; the best weights are kept. null: all epochs, and the last
    weights."""
    # NumPy takes 32 bits, and what is derived from it, such as a worker's seed, must fit as well.
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of weights, shuffling, crops and augmentation; workers share only the weights."""
    strategy: Literal["one_device", "mirrored", "multi_worker", "tpu"] = "one_device"
    """`mirrored` uses all GPUs of one machine ([several workers](../training.md#strategies))."""
    num_workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes of `multi_worker`, unless whatever started the Trainer has set TF_CONFIG."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """`mixed_float16` needs a GPU."""
    jit_compile: bool = False
    """Compile the train step with XLA."""
    cache: Literal["none", "memory", "file"] = "none"
    """Where to keep the records read in the first epoch for the others."""
    deterministic: bool = True
    """Same seed, same batches in the same order."""
    monitor_every: Annotated[int, Field(ge=1)] = 5
    """Write a classification report and a confusion matrix after this many epochs, and at the end."""
    monitor_clips: Annotated[int, Field(ge=1, le=4096)] = 64
    """Number of clips of train, and of eval, that they cover."""
    wandb_project: str | None = None
    """Weights & Biases project to log to as well; needs the package wandb."""

    @property
    def not_speech_rows(self) -> int:
        """Clips that are not speech in a batch of one replica, beside `batch_size` that are."""
        return round(self.not_speech_share * self.batch_size)

    @model_validator(mode="after")
    def _crops(self) -> Self:
        if self.min_crop_s is not None:
            if self.min_crop_s > self.crop_s:
                raise ValueError(f"min_crop_s {self.min_crop_s:g} is longer than crop_s {self.crop_s:g}")
            if self.strategy == "tpu":
                raise ValueError("min_crop_s: a TPU takes crops of one length only; leave it out")
        return self


class ServingConfig(Strict):
    """What the exported model accepts, and how it decides on a label."""

    max_duration_s: Annotated[float, Field(gt=0, le=86_400)] = 3600.0
    """Longest recording that the exported model accepts; longer ones get an error. Part of the exported model: train again to
    change it. The page and `/analyse` of `serve` cut recordings into blocks; their limit is `--max-duration-s`."""
    decision_threshold: Literal["argmax", "eval"] = "argmax"
    """How probabilities become a class: `argmax` takes the most probable one; `eval` takes thresholds by class, chosen on the
    eval split."""


def input_problem(model: ModelConfig, num_samples: int, sample_rate_hz: int, what: str = "a clip") -> str | None:
    """Why the front end cannot hear `what`, of `num_samples` at `sample_rate_hz`; None where it can."""
    # kapre's Delta mirrors two frames at either end.
    needed = model.n_fft + model.hop_length
    if num_samples < needed:
        return (
            f"{what} holds {num_samples} samples, and two STFT frames take model.n_fft + model.hop_length = {needed}; "
            "make it longer, or n_fft or hop_length smaller"
        )
    highest_hz = model.highest_mel_hz(sample_rate_hz)
    if highest_hz > sample_rate_hz / 2:
        return f"model.mel_f_max_hz {highest_hz:g} is above half of clips.sample_rate_hz {sample_rate_hz}"
    if model.mel_f_min_hz >= highest_hz:
        return f"model.mel_f_min_hz {model.mel_f_min_hz:g} is not below the upper end of the mel bands, {highest_hz:g} Hz"
    return None


def training_problem(model: ModelConfig, train: TrainConfig, num_samples: int, sample_rate_hz: int) -> str | None:
    """Why `model` cannot be trained as `train` says on clips of `num_samples` at `sample_rate_hz`; None where it can."""
    crop_samples = round(train.crop_s * sample_rate_hz)
    if crop_samples > num_samples:
        return (
            f"train.crop_s {train.crop_s:g} is longer than a clip of {num_samples / sample_rate_hz:g} s; "
            "make crop_s smaller or the clips longer"
        )
    if train.min_crop_s is not None:
        shortest = round(train.min_crop_s * sample_rate_hz)
        return input_problem(model, shortest, sample_rate_hz, f"train.min_crop_s {train.min_crop_s:g}")
    return input_problem(model, crop_samples, sample_rate_hz, f"train.crop_s {train.crop_s:g}")
