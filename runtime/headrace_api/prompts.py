"""Prompt formats of the model registry: chat messages in, the text of one prompt out. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace_api.base import Document


class PromptFormat(Document):
    """How each message of a chat is written into the prompt."""

    system: str
    assistant: str
    trailing_assistant: str
    user: str
    default_system_message: str = ""
    system_in_user: bool = False
    add_system_tags_even_if_message_is_empty: bool = False
    strip_whitespace: bool = True

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt."""
        raise NotImplementedError


class DisabledPromptFormat(Document):
    """An empty prompt format: the model takes prompts, no chat."""
