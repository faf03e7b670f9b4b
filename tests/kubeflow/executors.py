# SPDX-License-Identifier: Apache-2.0
"""Small executors for tests of the entrypoint: each does one thing that real ones do."""

import json
from pathlib import Path

import apache_beam as beam
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact

from beam_jobs.errors import UserError, one_line_errors
from components.review_report.artifact import write_report


class Notes(Artifact):
    """A type that this project makes up: TFX has the path of its class for a name."""

    TYPE_NAME = "executors.Notes"


class Tell(BaseExecutor):
    """Writes what it was given to an output folder."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        told = {}
        for name, (artifact,) in input_dict.items():
            told[name] = {
                "class": type(artifact).__name__,
                "uri": artifact.uri,
                "files": sorted(path.name for path in Path(artifact.uri).iterdir()),
                "blessed": artifact.get_int_custom_property("blessed"),
                "list": artifact.get_json_value_custom_property("list"),
                "struct": artifact.get_json_value_custom_property("struct"),
            }
            if isinstance(artifact, standard_artifacts.Examples):
                told[name] |= {"span": artifact.span, "split_names": artifact.split_names}
        (output,) = output_dict["notes"]
        Path(output.uri).mkdir()
        (Path(output.uri) / "told.json").write_text(json.dumps(told | {"parameters": exec_properties}))
        output.set_int_custom_property("blessed", 1)
        output.set_json_value_custom_property("nothing", None)
        if "examples" in input_dict:
            output.set_string_custom_property("about", f"{input_dict['examples'][0].uri}/Split-train")
            output.set_int_custom_property("about_id", input_dict["examples"][0].id)


class Report(BaseExecutor):
    """Writes a page."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        write_report(output_dict["report"][0], "<p>page</p>")


class Ids(BaseExecutor):
    """Notes the ids of its inputs."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        for name, (artifact,) in input_dict.items():
            output_dict["notes"][0].set_int_custom_property(f"{name}_id", artifact.id)


class Silent(BaseExecutor):
    """Makes nothing."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        pass


class Empty(BaseExecutor):
    """Makes a folder and nothing in it."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        Path(output_dict["notes"][0].uri).mkdir()


class Refuse(BaseBeamExecutor):
    """Finds in a worker that the user made a mistake."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        def refuse(number: int) -> None:
            raise UserError("s3://bucket/clips: not a dataset; make one")

        with one_line_errors(), self._make_beam_pipeline() as pipeline:
            _ = pipeline | beam.Create([1]) | beam.Map(refuse)


class Break(BaseExecutor):
    """Has a bug."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        raise KeyError("no such thing")


class FillDisk(BaseExecutor):
    """Writes where no byte is left: as Python does, as TensorFlow does, or in a Beam worker."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802 (TFX's name)
        if exec_properties["by"] == "python":
            write("/dev/full")
        elif exec_properties["by"] == "tensorflow":
            with tf.io.gfile.GFile("/dev/full", "w") as file:
                file.write("text")
        else:
            with beam.Pipeline() as pipeline:
                _ = pipeline | beam.Create(["/dev/full"]) | beam.Map(write)


def write(path: str) -> None:
    Path(path).write_text("text")
