"""A whole manifest: its shape first, then the rules; never an exception."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.document import check_model, read_model
from headrace_api.rules.finding import Facts

ENGINE = {"type": "VLLMEngine", "modelId": "org/model"}


def found(spec, **metadata):
    return [(one.code, one.field) for one in check_model({"metadata": {"name": "m", **metadata}, "spec": spec})]


def only(spec):
    (finding,) = check_model({"metadata": {"name": "m"}, "spec": spec})
    return finding


def test_a_small_model_has_no_findings():
    assert found({"engine": ENGINE}) == []


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [
        ("hf_model_id", "hfModelId"),
        ("s3_mirror_config", "s3Mirror"),
        ("maxTotalToken", "maxTotalTokens"),
        ("numWorkers", "spec.scaling.numWorkers"),
        ("tcp_probes", "spec.monitoring.tcpProbes"),
    ],
)
def test_an_unknown_field_names_what_was_meant(given_name, meant):
    finding = only({"engine": {**ENGINE, given_name: 1}})
    assert (finding.code, finding.field) == ("HR001", f"spec.engine.{given_name}")
    assert f"(did you mean {meant}?)" in finding.hint
    assert "modelId" in finding.hint


@pytest.mark.parametrize(
    ("spec", "code", "field", "says"),
    [
        ({}, "HR002", "spec.engine", "a map with type"),
        ({"engine": {}}, "HR002", "spec.engine.type", "VLLMEngine"),
        ({"engine": {"type": None}}, "HR002", "spec.engine.type", "VLLMEngine"),
        ({"engine": ENGINE, "scaling": {"numWorkers": "3"}}, "HR003", "spec.scaling.numWorkers", "without quotes"),
        ({"engine": ENGINE, "scaling": {"numWorkers": 1.5}}, "HR003", "spec.scaling.numWorkers", "a whole number"),
        ({"engine": ENGINE, "scaling": {"numWorkers": True}}, "HR003", "spec.scaling.numWorkers", "true is not"),
        ({"engine": ENGINE, "scaling": {"numWorkers": 0}}, "HR003", "spec.scaling.numWorkers", "at least 1"),
        ({"engine": ENGINE, "queue": {"url": "ftp://x"}}, "HR003", "spec.queue.url", "begins with http://"),
        ({"engine": {**ENGINE, "type": "VLLMEngin"}}, "HR003", "spec.engine.type", "did you mean VLLMEngine?"),
        ({"engine": {**ENGINE, "type": "acme."}}, "HR003", "spec.engine.type", "luminous or a name like vendor.Name"),
        ({"engine": "VLLMEngine"}, "HR003", "spec.engine", "a map with the fields"),
        ({"engine": {**ENGINE, "engineKwargs": {"a": [None]}}}, "HR003", "spec.engine.engineKwargs", "a[0] is null"),
        ({"engine": ENGINE, "monitoring": {"tcpProbes": [1, 0]}}, "HR003", "spec.monitoring.tcpProbes[1]", "65535"),
        ({"engine": {**ENGINE, "engineKwargs": {"at": dt.date(2026, 1, 1)}}}, "HR003", "", "put it in quotes"),
        ({"engine": ENGINE, "replicas": 2**63}, "HR003", "spec.replicas", "64 bits"),
        ({"engine": ENGINE, "template": {1: "x"}}, "HR003", "spec.template.1", "key in quotes"),
        ({"engine": {**ENGINE, "engineKwargs": {"x": float("nan")}}}, "HR003", "", "finite"),
    ],
)
def test_one_finding_says_where_what_and_what_is_accepted(spec, code, field, says):
    finding = only(spec)
    assert finding.code == code
    assert finding.field.startswith(field)
    assert says in finding.text
    assert "Input should" not in finding.text


def test_a_value_of_several_kinds_gives_one_finding_each():
    sequences = {"generation": {"stoppingSequences": ["a", 1, [1, "a"], 1.5, [1, [2]], {"str": 1}]}}
    at = "spec.engine.generation.stoppingSequences"
    assert found({"engine": {**ENGINE, **sequences}}) == [
        ("HR003", f"{at}[3]"),
        ("HR003", f"{at}[4][1]"),
        ("HR003", f"{at}[5]"),
    ]


def test_null_is_absent_and_a_whole_float_is_an_integer_as_for_the_api_server():
    spec = {"engine": ENGINE, "replicas": 3.0, "queue": None, "scaling": {"numWorkers": None}}
    read = read_model({"metadata": {"name": "m"}, "spec": spec})
    assert read.findings == ()
    assert read.spec.replicas == 3
    assert read.spec.scaling.num_workers == 1
    assert spec["replicas"] == 3.0
    assert spec["queue"] is None


def test_null_in_the_pod_template_is_kept():
    read = read_model(
        {"metadata": {"name": "m"}, "spec": {"engine": ENGINE, "queue": None, "template": {"spec": {"a": None}}}}
    )
    assert read.spec.template == {"spec": {"a": None}}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a" * 63, None),
        ("0-a", None),
        ("a" * 64, "HR004"),
        ("Upper", "HR004"),
        ("a.b", "HR004"),
        ("-a", "HR004"),
        ("", "HR004"),
        (7, "HR003"),
        (None, "HR002"),
    ],
)
def test_the_name_is_a_dns_label(name, code):
    expected = [(code, "metadata.name")] if code else []
    assert found({"engine": ENGINE}, name=name) == expected


def test_a_name_that_the_api_server_will_make_is_no_error():
    assert check_model({"metadata": {"generateName": "m-"}, "spec": {"engine": ENGINE}}) == []


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ([], [("HR003", "")]),
        ({}, [("HR002", "metadata"), ("HR002", "spec")]),
        ({"metadata": 1, "spec": {}}, [("HR003", "metadata"), ("HR002", "spec.engine")]),
        ({"metadata": {"name": "m"}, "spec": []}, [("HR003", "spec")]),
        ({"metadata": {"name": "m"}, "spec": None}, [("HR002", "spec")]),
        ({"metadata": {"name": "m"}, "sepc": {}}, [("HR001", "sepc"), ("HR002", "spec")]),
        ({"kind": "Model", "metadata": {"name": "m"}, "spec": {"engine": ENGINE}}, [("HR005", "kind")]),
    ],
)
def test_what_is_around_the_spec(manifest, expected):
    assert [(one.code, one.field) for one in check_model(manifest)] == expected


def nested(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("extreme", [1e308, 5e-324])
def test_extreme_numbers_are_findings(extreme):
    scaling = {"numWorkers": 2**63 - 1, "numGpusPerWorker": extreme}
    policy = {"targetOngoingRequestsPerReplica": extreme, "metricsIntervalSeconds": extreme, "maxReplicas": 2**62}
    spec = {"engine": ENGINE, "scaling": scaling, "deployment": {"autoscaling": policy, "maxConcurrentQueries": 1}}
    assert check_model({"metadata": {"name": "m"}, "spec": spec}, FACTS)


@pytest.mark.parametrize("levels", [60, 100, 100_000])
def test_deep_nesting_is_a_finding(levels):
    assert found({"engine": {**ENGINE, "engineKwargs": {"additional_config": nested(levels)}}})[:1] in (
        [],
        [("HR003", "spec")],
        [("HR008", "spec")],
    )


def field_names(model):
    for name, field in model.model_fields.items():
        yield name
        yield field.alias or name
        inner = field.annotation
        for kind in (inner, *getattr(inner, "__args__", ())):
            if hasattr(kind, "model_fields"):
                yield from field_names(kind)


NAMES = sorted(set(field_names(InferenceModelSpec)))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["VLLMEngine", "PACK"])
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(ANYTHING, ANYTHING)
def test_nothing_raises(spec, rest):
    findings = check_model({"metadata": {"name": "m"}, "spec": spec})
    assert all(one.text and one.field for one in findings)
    check_model(rest)
    check_model({"metadata": rest, "spec": spec})


def values(schema, root):
    """Values that mostly fit a JSON schema."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in schema:
        return st.one_of([values(option, root) for option in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    kinds = {
        "null": st.none(),
        "boolean": st.booleans(),
        "string": st.text(max_size=8) | st.sampled_from(["s3://b/x", "/a", "{instruction}", "http://localhost"]),
        "integer": st.integers(schema.get("minimum", 0), schema.get("maximum", 2**63 - 1)) | st.integers(1, 9),
        "number": st.floats(schema.get("minimum", 0), schema.get("maximum", 1e308)) | st.integers(0, 9),
    }
    if schema.get("type") == "array":
        return st.lists(values(schema["items"], root), max_size=3)
    if properties := schema.get("properties"):
        required = set(schema.get("required", ()))
        fitting = {name: values(inner, root) for name, inner in properties.items()}
        return st.fixed_dictionaries(
            {name: fitting[name] for name in required},
            optional={name: fitting[name] for name in properties if name not in required},
        )
    return kinds.get(schema.get("type"), st.dictionaries(st.text(max_size=4), ANYTHING, max_size=2))


SCHEMA = InferenceModelSpec.model_json_schema()


FACTS = Facts(
    gpus_per_node={"a": 8},
    gpu_memory_gib=80,
    model_config={"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99},
)


@pytest.mark.slow
@settings(max_examples=200)
@given(values(SCHEMA, SCHEMA), st.sampled_from([None, FACTS]))
def test_nothing_raises_for_what_is_nearly_right(spec, facts):
    for finding in check_model({"metadata": {"name": "m"}, "spec": spec}, facts):
        assert finding.text
        assert finding.path[0] == "spec"
