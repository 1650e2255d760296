"""Ask the sample model one question through the queue, streamed, and print the answer as it comes.

Run with the project's own Python: `.venv/bin/python kind/setup/ask.py http://127.0.0.1:8080 "A question?"`.
"""

import sys

import openai


def main() -> int:
    """Print the answer; the exit status is 1 when nothing came."""
    url, question = sys.argv[1:]
    came = False
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        messages = [{"role": "user", "content": question}]
        name = "headrace/sample-chat"
        with client.chat.completions.create(model=name, messages=messages, stream=True, temperature=0) as chunks:
            for chunk in chunks:
                for choice in chunk.choices:
                    came = came or bool(choice.delta.content)
                    print(choice.delta.content or "", end="", flush=True)
    print()
    return 0 if came else 1


if __name__ == "__main__":
    sys.exit(main())
