"""The shared vocabulary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_api import wire
from headrace_api.crd import custom_resource_definition
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.worker_config import Generator, WorkerConfig, fingerprint

pieces = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=50)))


@given(pieces)
def test_pieces_survive_a_frame(some):
    assert list(wire.decode_pieces(wire.encode_pieces(some))) == some


@given(pieces.filter(bool), st.data())
def test_a_cut_frame_is_an_error_or_whole_pieces(some, data):
    frame = wire.encode_pieces(some)
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    try:
        got = list(wire.decode_pieces(cut))
    except ValueError:
        return
    assert got == some[: len(got)]
    assert len(got) < len(some)


def test_messages_are_told_apart_by_type():
    message = wire.worker_messages.validate_json('{"type": "credit", "n": 4, "later": true}')
    assert message == wire.Credit(n=4)
    with pytest.raises(ValidationError, match=r"register.*credit"):
        wire.worker_messages.validate_json('{"type": "other"}')


def test_fingerprint_ignores_how_defaults_are_written():
    short = Generator(type="VLLMEngine", model_id="a/b")
    long = Generator(type="VLLMEngine", model_id="a/b", tensor_parallel_size=1, engine_kwargs={})
    assert fingerprint(short) == fingerprint(long)
    assert fingerprint(short) != fingerprint(Generator(type="VLLMEngine", model_id="a/c"))


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="token_limit"):
        WorkerConfig.model_validate(
            {"edition": 1, "generator": {"type": "VLLMEngine", "model_id": "m", "token_limit": 1}}
        )


def test_gpus_default_by_engine():
    def gpus(engine, **scaling):
        spec = {"engine": {"type": engine, "modelId": "m"}, "scaling": scaling}
        return InferenceModelSpec.model_validate(spec).gpus

    assert gpus("LlamaCppEngine") == 0
    assert gpus("VLLMEngine") == 1
    assert gpus("VLLMEngine", numWorkers=4) == 4
    assert gpus("VLLMEngine", numGpusPerWorker=0) == 0


@pytest.mark.parametrize(
    ("kwargs", "path"), [({"a": [1, None]}, r"a\[1\]"), ({"a": {"b": [{"c": None}]}}, r"a\.b\[0\]\.c")]
)
def test_a_null_in_a_list_is_refused_by_its_path(kwargs, path):
    with pytest.raises(ValidationError, match=f"{path} is null"):
        InferenceModelSpec.model_validate({"engine": {"type": "VLLMEngine", "modelId": "m", "engineKwargs": kwargs}})


def test_a_null_outside_of_lists_is_left_out():
    kwargs = {"a": None, "b": {"c": None}, "d": [[], {}]}
    InferenceModelSpec.model_validate({"engine": {"type": "VLLMEngine", "modelId": "m", "engineKwargs": kwargs}})


def walk(schema):
    yield schema
    for name in ("properties",):
        for value in schema.get(name, {}).values():
            yield from walk(value)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from walk(schema[name])


def test_the_schema_is_structural():
    root = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in walk(root):
        assert part.get("type") or part.get("x-kubernetes-preserve-unknown-fields"), part
        assert not {"$ref", "title", "const"} & set(part), part
        assert not any("type" in option for option in part.get("anyOf", [])), part


def test_every_spec_field_is_described():
    spec = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for part in walk(spec):
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), name
