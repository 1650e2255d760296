"""env.toml and cap.toml become edition 1: the document's example, and a second reading of the document's rules."""

import copy
import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headrace_api.toml_file import parse
from headrace_api.two_file import Checkpoint, EnvQueue, read
from headrace_api.worker_config import Generator, Queue, WorkerConfig, document, fingerprint
from headrace_worker.config_text import toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
PORTS = st.integers(1, 65535)
FOLDERS = st.from_regex(r"\A(/[a-zA-Z0-9 ._é-]{1,8}){1,3}/?\Z")
ENV = st.fixed_dictionaries(
    {},
    optional={
        "diagnostics": st.booleans(),
        "queue": st.fixed_dictionaries(
            {},
            optional={
                "url": TEXTS.map(lambda host: f"https://h{host}"),
                "token": TEXTS,
                "hostings": st.lists(TEXTS, max_size=2),
                "tags": st.lists(TEXTS, max_size=2),
                "http_request_retries": st.integers(0, 99),
                "max_concurrent_queries": st.integers(1, 99),
            },
        ),
        "monitoring": st.fixed_dictionaries(
            {}, optional={"metrics_port": PORTS, "tcp_probes": st.lists(PORTS, max_size=2)}
        ),
    },
)
CAP = st.fixed_dictionaries(
    {
        "checkpoint_name": TEXTS,
        "checkpoint": st.fixed_dictionaries(
            {
                "type": st.sampled_from(["luminous", "VLLMEngine", "LlamaCppEngine"]),
                "directory": FOLDERS,
            },
            optional={
                "tokenizer_filename": st.from_regex(r"\A[a-zA-Z0-9._-]{1,12}\Z"),
                "pipeline_parallel_size": st.integers(1, 8),
                "tensor_parallel_size": st.integers(1, 8),
                "auto_memory_config": st.booleans(),
                "memory_safety_margin": st.floats(0, 0.99),
                "unstable": st.fixed_dictionaries({}, optional={"skip_checkpoint_load": st.booleans()}),
            },
        ),
    },
    optional={"gpu_model_name": TEXTS},
)


def second_reading(env: dict[str, Any], cap: dict[str, Any]) -> dict[str, Any]:
    """The document's five caveats, done one after the other on plain tables, as somebody with an editor would."""
    # "you merge all existing sections into a single file"
    new: dict[str, Any] = {"edition": 1, "queue": {}, "monitoring": {}} | copy.deepcopy(env) | copy.deepcopy(cap)
    # "The section checkpoint is now called generator"
    generator = new["generator"] = new.pop("checkpoint")
    # "The diagnostics flag is no longer supported and gets replaced by an environment variable"
    new.pop("diagnostics", None)
    # "The checkpoint_name field has moved to the queue section."
    new["queue"]["checkpoint_name"] = new.pop("checkpoint_name")
    # "The gpu_model_name field has been removed."
    new.pop("gpu_model_name", None)
    # "we no longer support the fields tokenizer_filename and directory. Instead, we expect the tokenizer_path and
    # weight_set_directories", and the example shows how they hang together
    directory = generator.pop("directory")
    generator["weight_set_directories"] = [directory]
    if "tokenizer_filename" in generator:
        separator = "" if directory.endswith("/") else "/"
        generator["tokenizer_path"] = directory + separator + generator.pop("tokenizer_filename")
    # what the example's new file has beyond the two old ones
    for key, value in {
        "pipeline_parallel_size": 1,
        "tensor_parallel_size": 1,
        "auto_memory_config": True,
        "memory_safety_margin": 0.05,
        "unstable": {},
    }.items():
        generator.setdefault(key, value)
    generator["unstable"].setdefault("skip_checkpoint_load", False)
    # "http://localhost:8080 is the default", "Default is just an empty list" (which the example leaves out)
    for key, value in {"url": "http://localhost:8080", "tags": [], "http_request_retries": 7}.items():
        new["queue"].setdefault(key, value)
    if not new["queue"].get("hostings"):
        new["queue"].pop("hostings", None)
    for key, value in {"metrics_port": 4000, "tcp_probes": []}.items():
        new["monitoring"].setdefault(key, value)
    return new


@pytest.mark.slow
@given(env=ENV, cap=CAP)
def test_two_files_become_what_a_second_reading_of_the_document_gives(env: dict[str, Any], cap: dict[str, Any]) -> None:
    unified = read(tomli_w.dumps(env), "env.toml", tomli_w.dumps(cap), "cap.toml")
    expected = second_reading(env, cap)
    assert tomllib.loads(toml(unified.config, masked=False)) == expected
    if "token" in expected["queue"]:
        expected["queue"]["token"] = "XXXXXXXX"
    assert tomllib.loads(toml(unified.config, masked=True)) == expected
    assert unified.log_level == ("debug" if env.get("diagnostics") else None)
    dropped = [key for key in ("diagnostics", "gpu_model_name") if key in {**env, **cap}]
    assert [note.split(" = ")[0] for note in unified.notes] == dropped


@pytest.mark.slow
@given(env=ENV, cap=CAP)
def test_what_is_printed_is_read_as_the_same(env: dict[str, Any], cap: dict[str, Any]) -> None:
    config = read(tomli_w.dumps(env), "env.toml", tomli_w.dumps(cap), "cap.toml").config
    again = parse(toml(config, masked=False), "worker_config.toml", WorkerConfig)
    assert again == config
    assert fingerprint(again.generator) == fingerprint(config.generator)


def test_keys_beyond_the_documents_are_written_where_they_differ() -> None:
    text = """
        edition = 1
        [generator]
        type = "VLLMEngine"
        model_id = "m"
        max_total_tokens = 4096
        engine_kwargs = {max_num_seqs = 4, nested = {a = [1, {b = 2}]}, none = {}}
        generation = {prompt_format = {}, stopping_sequences = ["a", 1, [2, "b"]]}
        runtime_env = {env_vars = {A = "b"}, pip = ["x"]}
        s3_mirror_config = {bucket_uri = "s3://b/", extra_files = [{bucket_uri = "s3://e/", destination_path = "/e"}]}
        [queue]
        hostings = ["aleph-alpha"]
        max_concurrent_queries = 3
    """
    config = parse(text, "c.toml", WorkerConfig)
    written = tomllib.loads(toml(config, masked=True))
    given_generator = tomllib.loads(text)["generator"]
    assert {key: written["generator"][key] for key in given_generator} == given_generator
    assert written["queue"]["hostings"] == ["aleph-alpha"]
    assert "token" not in written["queue"]
    assert parse(toml(config, masked=False), "c.toml", WorkerConfig) == config
    assert document(config) == tomllib.loads(toml(config, masked=False))


def schema(model: type[BaseModel]) -> dict[str, Any]:
    properties: dict[str, Any] = model.model_json_schema()["properties"]
    return properties


def test_both_forms_accept_the_same_queues() -> None:
    new = schema(Queue)
    assert schema(EnvQueue) == {name: new[name] for name in new if name != "checkpoint_name"}


def test_both_forms_accept_the_same_of_a_model() -> None:
    old, new = schema(Checkpoint), schema(Generator)
    shared = old.keys() - {"directory", "tokenizer_filename"}
    assert {name: old[name] for name in shared} == {name: new[name] for name in shared}
