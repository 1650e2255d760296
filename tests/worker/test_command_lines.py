"""The engines' command lines, as golden values."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace_api.engine_arguments import table
from headrace_api.worker_config import Generator
from headrace_worker.engines import engine_for, generate_kwargs
from headrace_worker.engines.llamacpp import LlamaCpp
from headrace_worker.engines.llamacpp_server import parameters
from headrace_worker.engines.protocol import EngineConfigError, EngineFacts, Programs
from headrace_worker.engines.vllm import Vllm

FACTS = EngineFacts("/models/m", "public-name", 12345, Programs("/venv/bin/python", "/vllm/bin/python"))
MULTIPLEXER = ("--middleware", "headrace_multiplexer.Multiplexer")
CACHED = "--enable-prompt-tokens-details"
VLLM_START = [
    *("/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"),
    *("--model", "/models/m", "--served-model-name", "public-name", "--host", "127.0.0.1", "--port", "12345"),
]


def vllm(**keys: Any) -> Generator:
    return Generator(type="VLLMEngine", model_id="m", **keys)


def llamacpp(**keys: Any) -> Generator:
    return Generator(type="LlamaCppEngine", model_id="m", **keys)


def test_vllm_with_nothing_but_a_model_on_a_cpu() -> None:
    command = Vllm().command(vllm(), FACTS)
    more = ("--max-num-seqs", "256", CACHED, *MULTIPLEXER, "--disable-uvicorn-access-log")
    assert command.argv == [*VLLM_START, *more]
    assert command.env == {}
    assert (Path(command.python_path) / "headrace_multiplexer.py").is_file()


def test_vllm_that_embeds_is_asked_request_by_request() -> None:
    for engine, kwargs in ((Vllm(runner="pooling"), {}), (Vllm(), {"runner": "pooling", "middleware": ["m.a"]})):
        generator = vllm(engine_kwargs=kwargs)
        command = engine.command(generator, FACTS)
        assert MULTIPLEXER[1] not in command.argv
        assert not command.python_path
        assert not engine.api(generator).multiplexed
    assert Vllm().api(vllm()).multiplexed


def test_vllm_with_everything_on_gpus() -> None:
    generator = vllm(
        tokenizer_path="/t",
        tensor_parallel_size=2,
        pipeline_parallel_size=3,
        max_total_tokens=4096,
        unstable={"skip_checkpoint_load": True},
        runtime_env={"env_vars": {"A": "b"}},
        engine_kwargs={
            "max_num_seqs": 64,
            "trust_remote_code": True,
            "enable_prefix_caching": False,
            "hf_overrides": {"rope_theta": 2.0},
            "disable_log_stats": False,
            "allowed_media_domains": ["a", "b"],
            "middleware": ["m.a", "m.b"],
            "compilation-config.cudagraph_mode": "NONE",
            "seed": None,
            "allowed_origins": ["x"],
            "quantization": "awq",
        },
    )
    command = Vllm().command(generator, FACTS)
    assert command.argv == [
        *VLLM_START,
        *("--tokenizer", "/t", "--tensor-parallel-size", "2", "--pipeline-parallel-size", "3"),
        *("--max-model-len", "4096", "--load-format", "dummy"),
        *("--max-num-seqs", "64", "--trust-remote-code", "--no-enable-prefix-caching"),
        *("--hf-overrides", '{"rope_theta": 2.0}', "--allowed-media-domains", "a", "b"),
        *("--middleware", "m.a", "--middleware", "m.b", *MULTIPLEXER, "--compilation-config.cudagraph_mode", "NONE"),
        *("--allowed-origins", '["x"]', "--quantization", "awq"),
        CACHED,
        "--disable-uvicorn-access-log",
    ]
    assert command.env == {"A": "b"}
    assert Vllm().slots(generator) == 64


def test_whether_vllm_tells_of_cached_tokens_can_be_said() -> None:
    argv = Vllm().command(vllm(engine_kwargs={"enable-prompt-tokens-details": False}), FACTS).argv
    assert CACHED not in argv
    assert "--no-enable-prompt-tokens-details" in argv


def test_vllm_takes_a_given_share_of_memory() -> None:
    argv = Vllm().command(vllm(engine_kwargs={"gpu_memory_utilization": 0.5}), FACTS).argv
    assert argv.count("--gpu-memory-utilization") == 1
    assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.5"


@pytest.mark.parametrize("name", ["model", "served_model_name", "host", "port", "served-model-name"])
def test_vllm_arguments_of_the_worker_are_refused(name: str) -> None:
    with pytest.raises(EngineConfigError, match=f"engine_kwargs.{name}: 'x' is not accepted, because Headrace sets"):
        Vllm().command(vllm(engine_kwargs={name: "x"}), FACTS)


def test_vllm_stopping_sequences() -> None:
    generator = vllm(generation={"stopping_sequences": ["</s>", 2, [3]]})
    assert Vllm().request_defaults(generator) == {"stop": ["</s>"], "stop_token_ids": [2, 3]}
    with pytest.raises(EngineConfigError, match=r"\[3, 4\] is not accepted.*a list of one token id"):
        Vllm().request_defaults(vllm(generation={"stopping_sequences": [[3, 4]]}))


def test_llamacpp_defaults() -> None:
    command = LlamaCpp().command(llamacpp(runtime_env={"env_vars": {"A": "b"}}), FACTS)
    assert command.argv[:3] == ["/venv/bin/python", "-m", "headrace_worker.engines.llamacpp_server"]
    assert json.loads(command.argv[3]) == {
        "model": "/models/m",
        "alias": "public-name",
        "port": 12345,
        "options": {"endpoint_metrics": True, "n_parallel": 4},
    }
    assert command.env == {"A": "b"}


def test_llamacpp_max_total_tokens_is_per_slot() -> None:
    generator = llamacpp(max_total_tokens=512, engine_kwargs={"n_parallel": 3, "n_batch": 64})
    options = json.loads(LlamaCpp().command(generator, FACTS).argv[3])["options"]
    assert options == {"endpoint_metrics": True, "n_parallel": 3, "n_batch": 64, "n_ctx": 1536}
    assert LlamaCpp().slots(generator) == 3


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"engine_kwargs": {"n_paralel": 2}},
            r"engine_kwargs.n_paralel: unknown to llama.cpp .* \(did you mean n_parallel\?\)",
        ),
        ({"engine_kwargs": {"n_parallel": 0}}, "n_parallel: 0 is not accepted; accepted: at least 1"),
        ({"engine_kwargs": {"n_batch": True}}, "n_batch: True is not accepted; accepted: a whole number"),
        ({"engine_kwargs": {"flash_attn": "yes"}}, "flash_attn: 'yes' is not accepted; accepted: auto or disabled"),
        ({"engine_kwargs": {"port": 1}}, "port: 1 is not accepted, because Headrace sets it itself"),
        (
            {"engine_kwargs": {"n_ctx": 1}, "max_total_tokens": 5},
            "n_ctx: 1 is not accepted beside .*max_total_tokens",
        ),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size: 2 is not accepted with LlamaCppEngine"),
        ({"tokenizer_path": "/t"}, "tokenizer_path: '/t' is not accepted"),
        ({"unstable": {"skip_checkpoint_load": True}}, "skip_checkpoint_load: True is not accepted"),
    ],
)
def test_llamacpp_refusals(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineConfigError, match=says):
        LlamaCpp().command(llamacpp(**keys), FACTS)


def test_llamacpp_stops_at_text_only() -> None:
    assert LlamaCpp().request_defaults(llamacpp(generation={"stopping_sequences": ["a"]})) == {"stop": ["a"]}
    with pytest.raises(EngineConfigError, match="cannot stop at token ids"):
        LlamaCpp().request_defaults(llamacpp(generation={"stopping_sequences": [7]}))


def test_every_llamacpp_option_is_one_that_the_server_has() -> None:
    samples = {"integer": 1, "number": 1.0, "boolean": True, "string": "", "map of texts": {"a": "b"}}
    for name, argument in table("llamacpp").arguments.items():
        for value in argument.choices or (samples[argument.kind],):
            request = {"model": "/m.gguf", "alias": "name", "port": 1}
            parameters({**request, "options": {name: [value, value] if argument.many else value}})


def test_llamacpp_options_reach_their_fields() -> None:
    options = {
        "n_threads": 3,
        "flash_attn": "disabled",
        "tensor_split": [0.5, 0.5],
        "cache_type_k": "q8_0",
        "n_ctx": 64,
    }
    options |= {"chat_template_kwargs": {"a": "b"}, "split_mode": "row", "reasoning_format": "none"}
    params = parameters({"model": "/m.gguf", "alias": "name", "port": 1, "options": options})
    assert (params.n_ctx, params.cpuparams.n_threads, params.use_jinja) == (64, 3, True)
    assert (params.flash_attn_type, params.tensor_split[:3], params.cache_type_k) == (0, [0.5, 0.5, 0.0], 8)
    assert (params.default_template_kwargs, params.split_mode, params.reasoning_format) == ({"a": "b"}, 2, 0)


def test_gguf_files_are_found_or_asked_for(tmp_path: Path) -> None:
    generator = llamacpp(weight_set_directories=[str(tmp_path)])
    with pytest.raises(EngineConfigError, match=r"in the folder '.*': there is no \.gguf file"):
        LlamaCpp().locate(generator)
    (tmp_path / "a.Q8_0.gguf").touch()
    assert LlamaCpp().locate(generator) == str(tmp_path / "a.Q8_0.gguf")
    (tmp_path / "a.Q4_K_M.gguf").touch()
    with pytest.raises(
        EngineConfigError, match=r"several .*: a\.Q4_K_M\.gguf, a\.Q8_0\.gguf; quantizations: Q4_K_M, Q8_0"
    ):
        LlamaCpp().locate(generator)
    assert LlamaCpp().locate(llamacpp(hf_model_id=f"{tmp_path}:q4_k_m")) == str(tmp_path / "a.Q4_K_M.gguf")
    with pytest.raises(
        EngineConfigError, match=r"no \.gguf file is quantized as 'Q5_0'; there are: a.Q4_K_M.gguf, a.Q8"
    ):
        LlamaCpp().locate(llamacpp(hf_model_id=f"{tmp_path}:Q5_0"))
    with pytest.raises(EngineConfigError, match="neither a file nor a folder"):
        LlamaCpp().locate(llamacpp(hf_model_id=str(tmp_path / "c.gguf")))


@pytest.mark.parametrize(
    ("keys", "tokenizer"),
    [
        ({"tokenizer_path": "/w/tokenizer.json"}, "/w"),
        ({"tokenizer_path": "/w/tokenizer.model"}, "/w"),
        ({"tokenizer_path": "/tokenizer.json"}, "/"),
        ({"tokenizer_path": "tokenizer.json"}, "."),
        ({"tokenizer_path": "/w"}, "/w"),
        ({"tokenizer_id": "org/name"}, "org/name"),
    ],
)
def test_vllm_gets_the_tokenizers_folder_or_id(keys: dict[str, str], tokenizer: str) -> None:
    argv = Vllm().command(vllm(**keys), FACTS).argv
    assert argv[argv.index("--tokenizer") + 1] == tokenizer


def test_vllm_tokenizers_that_it_would_not_find_are_refused() -> None:
    with pytest.raises(
        EngineConfigError, match=r"tokenizer_path: '/w/alpha-001.json' .* accepted: a folder, or a file"
    ):
        Vllm().command(vllm(tokenizer_path="/w/alpha-001.json"), FACTS)
    with pytest.raises(EngineConfigError, match="tokenizer_id: 'a/b' is not accepted beside tokenizer_path = '/t'"):
        Vllm().command(vllm(tokenizer_path="/t", tokenizer_id="a/b"), FACTS)
    with pytest.raises(EngineConfigError, match="tokenizer_id: 'a/b' is not accepted with LlamaCppEngine"):
        LlamaCpp().command(llamacpp(tokenizer_id="a/b"), FACTS)


def test_engines_that_nobody_has_are_refused() -> None:
    with pytest.raises(
        EngineConfigError, match=r"does not serve 'acme.Fast'; it serves: EmbeddingEngine, LlamaCppEngin"
    ):
        engine_for("acme.Fast")


@pytest.mark.parametrize(
    ("kwargs", "request_", "body"),
    [
        ({"temperature": 0.5}, {"n": 1}, {"n": 1, "temperature": 0.5}),
        ({"temperature": 0.5}, {"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.5}, {"temperature": None}, {"temperature": 0.5}),
        ({"max_tokens": 5}, {"max_completion_tokens": 9}, {"max_completion_tokens": 9}),
        ({"max_new_tokens": 5, "num_return_sequences": 2}, {}, {"max_tokens": 5, "n": 2}),
        ({"max_new_tokens": 5, "max_tokens": 6, "do_sample": True}, {}, {"max_tokens": 6}),
        ({"do_sample": False}, {}, {"temperature": 0}),
        ({"max_completion_tokens": 5, "top_k": 1}, {"max_tokens": 9}, {"max_tokens": 9, "top_k": 1}),
    ],
)
def test_generate_kwargs_stand_where_a_request_says_nothing(
    kwargs: dict[str, Any], request_: dict[str, Any], body: dict[str, Any]
) -> None:
    assert generate_kwargs.merged(kwargs, request_) == body
