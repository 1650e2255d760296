"""Strategies for the values that more than one document has, and for documents that say some of their keys."""

from hypothesis import strategies as st

words = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable())
names = st.one_of(st.sampled_from(["meta-llama/Llama-2-7b-chat-hf", "mosaicml/mpt-7b", "ein/größeres 模型"]), words)
texts = st.one_of(words, st.sampled_from(["", "### End", "</s>\n", "yes", "1", "null", "a: b", "\u2028x", "\x7f\t"]))
counts = st.integers(1, 2**31)
positive = st.one_of(st.integers(1, 1000), st.floats(1e-6, 1e6))
periods = st.one_of(st.integers(1, 1000), st.floats(0.1, 604_800))
targets = st.one_of(st.integers(1, 1000), st.floats(0.001, 1e6))
factors = st.one_of(st.integers(1, 100), st.floats(1e-6, 100))
delays = st.one_of(st.integers(0, 1000), st.floats(0, 604_800))
shares = st.one_of(st.just(1), st.floats(0.001, 1))
keys = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)

floats = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: -(2**63) <= number < 2**63 or abs(number) >= 1e21
)
leaves = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), floats, texts)


def nested(leaf):
    """Maps and lists of `leaf`, empty ones too."""
    inner = st.recursive(
        leaf, lambda part: st.lists(part, max_size=3) | st.dictionaries(texts, part, max_size=3), max_leaves=4
    )
    return st.dictionaries(keys, inner, max_size=3)


toml_maps = nested(leaves)
"""Free-form maps as TOML has them."""
yaml_maps = st.one_of(toml_maps, st.dictionaries(keys, st.none(), max_size=2), st.just({"a": {"b": None}}))
"""Free-form maps as YAML has them: with nulls, though not in lists."""

stopping_sequences = st.lists(
    st.one_of(texts, st.integers(0, 2**31), st.lists(st.one_of(texts, st.integers(0, 2**31)), max_size=3)), max_size=4
)
templates = st.sampled_from(["{instruction}", "[INST] {instruction} [/INST]", " {instruction}\n", "ä{instruction}"])


def some(required=None, **optional):
    """Maps with all of `required` and any of `optional`."""
    return st.fixed_dictionaries(required or {}, optional=optional)


prompt_formats = st.one_of(
    st.just({}),
    some(
        {"system": templates, "assistant": templates, "trailing_assistant": texts, "user": templates},
        default_system_message=texts,
        system_in_user=st.just(False),
        add_system_tags_even_if_message_is_empty=st.booleans(),
        strip_whitespace=st.booleans(),
    ),
    some(
        {
            "system": templates,
            "assistant": templates,
            "trailing_assistant": texts,
            "user": st.just("[INST] {system}{instruction} [/INST]"),
            "system_in_user": st.just(True),
        },
        default_system_message=texts,
    ),
)
environments = st.dictionaries(st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), texts, max_size=3)
extra_files = st.lists(some({"bucket_uri": st.just("s3://b/x"), "destination_path": words}), max_size=2)
s3_mirrors = some(
    bucket_uri=st.sampled_from(["s3://bucket/folder/", "s3://b/größe"]),
    s3_sync_args=st.lists(texts, max_size=2),
    s3_aws_credentials=some(
        {"create_aws_credentials_url": st.just("https://example.com/c")}, auth_token_env_variable=words
    ),
    extra_files=extra_files,
)
gcs_mirrors = some({"bucket_uri": st.just("gs://bucket/folder/")}, extra_files=extra_files)
policies = st.sampled_from(["MAX_UTILIZATION", "GUARANTEED_NO_EVICT"])
levels = st.sampled_from(["VERBOSE", "INFO", "WARNING", "ERROR", "INTERNAL_ERROR"])
engines = st.sampled_from(["VLLMEngine", "TRTLLMEngine", "EmbeddingEngine", "LlamaCppEngine", "luminous"])

engine_fields = {
    "hf_model_id": names,
    "tokenizer_id": names,
    "model_type": st.sampled_from(["text-generation", "embedding", "InflightFusedBatching"]),
    "max_total_tokens": counts,
    "s3_mirror_config": s3_mirrors,
    "gcs_mirror_config": gcs_mirrors,
    "model_local_path": words,
    "scheduler_policy": policies,
    "logger_level": levels,
    "max_num_sequences": counts,
    "max_tokens_in_paged_kv_cache": counts,
    "kv_cache_free_gpu_mem_fraction": shares,
    "enable_trt_overlap": st.booleans(),
    "max_batch_size": counts,
    "batch_wait_timeout_s": delays,
    "optimize": st.just("onnx"),
}
"""Fields of an engine that the registry and the worker's file have under the same names, free-form ones aside."""


def filled(given, always, present=None):
    """`given` without nulls, with documented defaults for what it does not say.

    Args:
        given: the section of a document.
        always: defaults by key; a map of defaults is one of a section and goes into it.
        present: defaults of sections, only where `given` has the section.
    """
    out = dict(always)
    for key, value in given.items():
        inner = always.get(key) or (present or {}).get(key)
        if value is not None:
            out[key] = filled(value, inner, present) if isinstance(inner, dict) and isinstance(value, dict) else value
    return out
