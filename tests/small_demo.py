# SPDX-License-Identifier: Apache-2.0
"""The demo made small, for tests that run the whole pipeline."""

SMALL = [
    "corpus.synth.num_speakers=40",
    "corpus.synth.utterances_per_speaker=2",
    "clips.num_clips={train: 96, eval: 24, test: 48}",
    "clips.clips_per_shard=24",
    "clips.duration_s=3",
    "train.crop_s=2",
    "train.epochs=4",
    "model.n_mels=32",
    "model.filters=[8, 8, 8, 8]",
    "gate.min_slice_clips=10",
    "gate.bootstrap_samples=200",
    "robustness={degradations: [telephone, babble], strengths: [2], num_clips: 8}",
]
ANY_MODEL = [f"gate.{where}={{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}" for where in ("overall", "slices")]
PERFECT_MODEL = [f"gate.{where}={{min_accuracy: 1, min_auc: 1, min_recall: 1, max_ece: 0}}" for where in ("overall", "slices")]

TINY = """\
clips:
  duration_s: 1
  sample_rate_hz: 8000
  num_clips: {train: 16, eval: 8, test: 8}
  clips_per_shard: 8
  max_utterances: 2
  pause_s: {min: 0, max: 0}
data: {min_class_share: 0.1}
model: {n_fft: 512, hop_length: 128, n_mels: 16, mel_f_max_hz: 3000, frame_length: 16, filters: [2, 2, 2, 2]}
"""
"""A configuration of 32 clips of a second and a network of next to nothing; it lacks `train` and `gate`."""

_ANYTHING = """min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1,
    max_accuracy_loss: 1, max_auc_loss: 1, max_recall_loss: 1, max_ece_rise: 1"""
ANY_MODEL_PASSES = f"""\
{TINY}train: {{epochs: 1, batch_size: 8, crop_s: 0.5}}
gate:
  overall: {{{_ANYTHING}}}
  slices: {{{_ANYTHING}}}
  bootstrap_samples: 100
"""
"""A configuration, to which `push` may be added: a training of seconds, and a gate that any model passes."""
