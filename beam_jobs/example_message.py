# SPDX-License-Identifier: Apache-2.0
"""The message tf.Example without TensorFlow.

It is declared from TensorFlow's `example.proto` and `feature.proto`, in a descriptor pool of its own so that it can live beside
TensorFlow's.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def example_class() -> type[Any]:
    """The class of messages `tensorflow.Example`."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="clip_example.proto", package="tensorflow", syntax="proto3")

    def add(message_type: Any, name: str, number: int, kind: int, repeated: bool = False, type_name: str | None = None) -> Any:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        return message_type.field.add(name=name, number=number, type=kind, label=label, type_name=type_name)

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        add(file.message_type.add(name=name), "value", 1, kind, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        type_name = ".tensorflow." + "".join(part.capitalize() for part in name.split("_"))
        add(feature, name, number, field.TYPE_MESSAGE, type_name=type_name).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, type_name=".tensorflow.Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, repeated=True, type_name=".tensorflow.Features.FeatureEntry")
    add(file.message_type.add(name="Example"), "features", 1, field.TYPE_MESSAGE, type_name=".tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
