# SPDX-License-Identifier: Apache-2.0
"""The job that makes training clips, and what it needs to know of corpora."""

from beam_jobs.surroundings import prepare_process

prepare_process()
