# SPDX-License-Identifier: Apache-2.0
"""`python -m pipeline`: the same as `audio-gender`."""

from pipeline.cli import main

main()
