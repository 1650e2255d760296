"""What to ask another worker when one is lost in the middle of a stream, and how to put the two streams together.

Pure. The text that the client has already is the beginning of the assistant's message (`continue_final_message`, as
vLLM has it) or the end of the prompt; the next worker says the rest. Only where that gives the answer that one worker
would have given: a request with tools, several choices, log probabilities or a prescribed form of the answer, or one
whose answer began with reasoning, cannot be continued, as no engine takes up such an answer in its middle.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from headrace_api.wire import Usage
from headrace_queue.calls import CHAT, COMPLETIONS
from headrace_queue.exchange_types import Call

_END = b"\n\n"
_DONE = b"[DONE]"
_BLOCK_BYTES = 16 * 1024
_MOST_BYTES = 8 * 2**20
_LONGEST_EVENT = 256 * 1024

_HARMLESS = frozenset({
    "add_generation_prompt", "cache_prompt", "chat_template_kwargs", "continue_final_message", "frequency_penalty", "ignore_eos",
    "logit_bias", "max_completion_tokens", "max_tokens", "messages", "metadata", "min_p", "model", "presence_penalty",
    "prompt", "repetition_penalty", "seed", "service_tier", "stop", "stop_token_ids", "store", "stream", "stream_options",
    "temperature", "top_k", "top_p", "user",
})  # fmt: skip
"""What may be asked for in a request that is continued; of everything else only what is as good as nothing."""
