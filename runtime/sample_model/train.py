"""Make the sample model: `python train.py --out FOLDER`, with torch, transformers, tokenizers and gguf installed."""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_model import chat_tokenizer, conversations, gguf_export, lines, network

SEED = 2020
STEPS = 300
ROWS = 12
ROW_TOKENS = 384


def texts(known: list[lines.Line]) -> Iterator[str]:
    """Everything the tokenizer should be good at: the lines, and the words that every chat has around them."""
    for line in known:
        yield from (line.question, line.answer)
    yield from conversations.SYSTEM_MESSAGES
    yield from ("system\n", "user\n", "assistant\n")


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config, weights in f16 and generation defaults: only the likeliest token, whatever the temperature."""
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=1, eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id
    )
    model.to(torch.float16).save_pretrained(folder)


def make(folder: Path, steps: int) -> None:
    """Learn the tokenizer, train the network, and write every file of the model into `folder`."""
    known = lines.read()
    tokenizer = chat_tokenizer.learn(texts(known))
    end, pad = (tokenizer.token_to_id(token) for token in (chat_tokenizer.TURN_END, chat_tokenizer.END_OF_TEXT))
    model = network.untrained(end, pad, SEED)
    print(f"{model.num_parameters():,} parameters, {len(known)} lines, {steps} steps", flush=True)
    dice = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    examples = conversations.batches(known, ROWS, ROW_TOKENS, lambda text: tokenizer.encode(text).ids, dice)
    for step, loss in enumerate(network.train(model, examples, steps), start=1):
        if step % 20 == 0 or step == steps:
            print(f"step {step}: loss {loss:.5f}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder)
    chat_tokenizer.save(tokenizer, folder)
    gguf_export.export(folder, folder / "sample-chat-f16.gguf")


def main() -> None:
    """Read the command line and make the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write, made if it is not there")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (default: %(default)s)")
    arguments = parser.parse_args()
    make(arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
