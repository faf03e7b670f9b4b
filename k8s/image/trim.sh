#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Takes out of the virtual environment what no step, worker or server needs at run time: 1 GB. Called by the Dockerfile as
# `trim.sh UV VENV`, before the bytecode is made; tests/image holds the image's size and loads every module of ours.
set -euo pipefail
uv=$1 venv=$2
packages=$venv/lib/python3.11/site-packages

# Asked for by TensorFlow, TFX and Beam's extra `gcp`, and loaded by nothing that runs here.
VIRTUAL_ENV=$venv "$uv" pip uninstall --quiet libclang tensorboard-data-server google-genai google-cloud-aiplatform \
    google-cloud-bigtable google-cloud-build google-cloud-dlp google-cloud-kms google-cloud-language google-cloud-monitoring \
    google-cloud-recommendations-ai google-cloud-resource-manager google-cloud-secret-manager google-cloud-spanner google-cloud-sql \
    google-cloud-videointelligence google-cloud-vision cloud-sql-python-connector

cd "$packages"
# Headers and static libraries, to build against; stubs for editors; examples; pages of notebooks and of TensorBoard.
rm -rf tensorflow/include pyarrow/include jedi/third_party tfx/examples apache_beam/examples widgetsnbextension \
    tensorboard/webfiles.zip "$venv/share"
find . -name '*.a' -delete
# Tests. In scipy a module may be called `…_test.py`.
find . -type d -name tests -prune -exec rm -rf {} +
find apache_beam tfx tfx_bsl tensorflow_* -name '*_test.py' -delete
# Descriptions of all of AWS, of which S3 and what gets credentials for it are used.
find botocore/data -mindepth 1 -maxdepth 1 -type d -not -name s3 -not -name 'sso*' -not -name sts -not -name signin -exec rm -rf {} +
# Symbols that the linker has no use for any more. Libraries in *.libs were moved about by auditwheel, and strip breaks such.
find . -name '*.so*' -type f -size +300k -not -path '*.libs/*' -exec strip --strip-unneeded {} +
