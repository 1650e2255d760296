"""Chat with a prompt format: the worker writes the prompt itself, the engine's chat template passes it on as it is.

So the format's rules exist once (`headrace_api.prompts`) and hold to the character with every engine, and a chat
completion stays one for the engine: log probabilities, streaming and the shape of its answers are the engine's own.
"""

from collections.abc import Mapping
from typing import Any

from headrace_api.prompts import DisabledPromptFormat, PromptFormat
from headrace_api.worker_config import Generator
from headrace_worker.engines.protocol import EngineConfigError

AS_IT_IS = "{{ messages[0]['content'] }}"
"""A chat template (Jinja) that writes the first message's content and nothing else."""


def template(generator: Generator) -> str | None:
    """The chat template to give the engine; none where its own is to be used, or where it gets no chats.

    Raises:
        EngineConfigError: there is a prompt format and another template, too.
    """
    if not isinstance(generator.generation.prompt_format, PromptFormat):
        return None
    for name in ("chat_template", "chat-template"):
        if name in generator.engine_kwargs:
            raise EngineConfigError(
                f"generator.engine_kwargs.{name}: not accepted beside generator.generation.prompt_format, which says "
                "how chat messages become a prompt; give one of the two"
            )
    return AS_IT_IS


def formatted(prompt_format: PromptFormat | DisabledPromptFormat, request: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request whose only message is the whole prompt.

    The prompt is tokenized as in RayLLM, with the tokens that the tokenizer puts around any text (BOS): llama.cpp
    always does that, vLLM for chats only when it is asked to.

    Raises:
        ValueError: the messages cannot be written with the format, or the request has tools; for the client.
    """
    prompt = prompt_format.render(request.get("messages") or ())
    for name in ("tools", "functions"):
        if request.get(name):
            raise ValueError(f"{name}: this model's prompt format has no place for {name}")
    return {"add_special_tokens": True, **request, "messages": [{"role": "user", "content": prompt}]}
