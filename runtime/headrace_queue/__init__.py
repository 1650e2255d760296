"""`headrace-queue`: the OpenAI-compatible front that workers pull from (the Spider)."""
