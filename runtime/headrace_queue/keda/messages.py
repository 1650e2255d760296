"""The messages of KEDA's `externalscaler.ExternalScaler`.

Made when they are first needed from the names and numbers of its interface, and not kept as generated code: that runs
only with the protobuf library of the compiler that made it, or a newer one.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "externalscaler"
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64,
    "double": _Field.TYPE_DOUBLE,
}
_MESSAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "ScaledObjectRef": (("name", "string"), ("namespace", "string"), ("scalerMetadata", "map")),
    "IsActiveResponse": (("result", "bool"),),
    "GetMetricSpecResponse": (("metricSpecs", "repeated MetricSpec"),),
    "MetricSpec": (("metricName", "string"), ("targetSize", "int64"), ("targetSizeFloat", "double")),
    "GetMetricsRequest": (("scaledObjectRef", "ScaledObjectRef"), ("metricName", "string")),
    "GetMetricsResponse": (("metricValues", "repeated MetricValue"),),
    "MetricValue": (("metricName", "string"), ("metricValue", "int64"), ("metricValueFloat", "double")),
}
"""Each field's name and type; its number is its place, from 1."""


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            _add(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()  # of its own: others in this process may know the same names
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(one) for name, one in found.items()}


def _add(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    label = _Field.LABEL_REPEATED if kind == "map" or kind.startswith("repeated ") else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=number, label=label)
    if kind in _TYPES:
        field.type = _TYPES[kind]
        return
    field.type = _Field.TYPE_MESSAGE
    if kind == "map":  # of texts, which is a list of entries on the wire
        entry = message.nested_type.add(name=name[0].upper() + name[1:] + "Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, "string")
        _add(entry, "value", 2, "string")
        field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
    else:
        field.type_name = f".{_PACKAGE}.{kind.removeprefix('repeated ')}"


_MADE = _classes()
ScaledObjectRef = _MADE["ScaledObjectRef"]
IsActiveResponse = _MADE["IsActiveResponse"]
GetMetricSpecResponse = _MADE["GetMetricSpecResponse"]
MetricSpec = _MADE["MetricSpec"]
GetMetricsRequest = _MADE["GetMetricsRequest"]
GetMetricsResponse = _MADE["GetMetricsResponse"]
MetricValue = _MADE["MetricValue"]
