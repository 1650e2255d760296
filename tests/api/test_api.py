"""The shared vocabulary."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json

from headrace_api import wire
from headrace_api.crd import custom_resource_definition
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.pieces import decode_pieces, encode_pieces
from headrace_api.worker_config import Generator, WorkerConfig, fingerprint

pieces = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=50)))


@given(pieces)
def test_pieces_survive_a_frame(some):
    assert decode_pieces(encode_pieces(some)) == some


@given(pieces.filter(bool), st.data())
def test_a_cut_frame_is_an_error_or_whole_pieces(some, data):
    frame = encode_pieces(some)
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    try:
        got = decode_pieces(cut)
    except ValueError:
        return
    assert got == some[: len(got)]
    assert len(got) < len(some)


def test_messages_are_told_apart_by_type():
    assert wire.read_worker_messages('{"type": "credit", "n": 4, "later": true}') == [wire.Credit(n=4)]
    assert wire.read_queue_messages('[{"type": "returned", "n": 0}, {"job": 7, "type": "cancel"}]') == [
        wire.Returned(n=0),
        wire.Cancel(job=7),
    ]


def deep_result(depth):
    return '{"type": "result", "job": 1, "request_id": "r", "body": {"error": %s}}' % ("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ('{"type": 7}', "type: Expected `str`"),
        ('{"n": 1}', "message: Object missing required field `type`"),
        ('{"type": "credit", "n": 0}', "credit.n: Expected `int` >= 1"),
        ('{"type": "credit", "n": 0, "and": ', "not JSON"),
        ("[[]]", "message: Expected `object`, got `array`"),
        ('[{"type": "credit", "n": 1}, {"type": "credit"}]', "credit: Object missing required field `n`"),
        ('[{"type": "credit", "n": 1}, {"type": "recall", "n": "1"}]', "recall.n: Expected `int`, got `str`"),
        (
            '{"type": "result", "job": 1, "request_id": "x", "usage": {"prompt_tokens": -1}}',
            "result.usage.prompt_tokens",
        ),
        ('{"type": "result", "job": 1, "request_id": "x", "gpu_seconds": NaN}', "not JSON"),
        ('{"type": "report", "state": "tired"}', "report.state: Invalid enum value 'tired'"),
        ('{"type": "register", "worker": "w"}', "a worker registers once"),
        ("7", "message: Expected `object | array`, got `int`"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON: recursion limit"),
        (deep_result(900), "result.body: recursion limit"),
        (deep_result(100_000), "not JSON: recursion limit"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_is_wrong_with_a_message_is_said_in_words(frame, words):
    with pytest.raises(wire.MessageError, match=f"^{re.escape(words)}"):
        wire.read_worker_messages(frame)


def test_a_job_has_numbers_as_clients_may_write_them():
    body = '{"seed": 123456789012345678901234567890, "temperature": 1e999, "top_p": 0.10000000000000000001}'
    head = '{"type": "job", "job": 1, "request_id": "r", "openai_url": "/v1/completions", "openai_req": '
    [job] = wire.read_queue_messages(head + body + "}")
    assert job.openai_req == from_json(body)


@pytest.mark.parametrize(
    ("read", "known"),
    [(wire.read_worker_messages, wire.Credit(n=4)), (wire.read_queue_messages, wire.Cancel(job=7))],
)
def test_messages_of_later_versions_are_ignored(read, known):
    novel = '{"type": "novel", "n": {}}'
    assert read(novel) == []
    assert read(f"[{novel}]") == []
    assert read(f"[{novel}, {wire.encoded(known)}, {novel}]") == [known]
    for bad in ('{"n": 4}', '{"type": 7}', '{"type": null}', "7", '{"type": "drain", "reason": 7}'):
        with pytest.raises(wire.MessageError):
            read(f"[{novel}, {bad}, {wire.encoded(known)}]")


@pytest.mark.parametrize("message", [wire.Registered(), wire.Job(1, "r", "/v1/embeddings", {}), wire.Demand(0)])
def test_what_is_written_is_read(message):
    assert wire.read_queue_messages(wire.encoded(message)) == [message]


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
