"""The network and its training: a small Llama from a random start until it knows the lines by heart."""

import math
from collections.abc import Iterator

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sample_model.chat_tokenizer import CONTEXT_TOKENS, VOCABULARY
from sample_model.conversations import Example

PEAK_LEARNING_RATE = 4e-3
WARM_UP_STEPS = 20
THREADS = 2


def untrained(eos_id: int, pad_id: int, seed: int) -> LlamaForCausalLM:
    """A Llama of 573,568 random weights: three layers, width 128, four heads of 32 that share two keys and values."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=304,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos_id,
        pad_token_id=pad_id,
    )
    return LlamaForCausalLM(config)


def learning_rate(step: int, steps: int) -> float:
    """A linear rise over `WARM_UP_STEPS`, then half a cosine down to a fiftieth of the peak."""
    if step < WARM_UP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return PEAK_LEARNING_RATE * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)


def train(model: LlamaForCausalLM, batches: Iterator[list[Example]], steps: int) -> Iterator[float]:
    """Take `steps` AdamW steps, one batch each, and yield each batch's loss (nats per answer token)."""
    torch.set_num_threads(THREADS)  # sums are split by thread: the same number gives the same weights again
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    for step in range(steps):
        batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        labels = torch.tensor([row.labels for row in batch])
        loss = model(input_ids=torch.tensor([row.ids for row in batch]), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield loss.item()
