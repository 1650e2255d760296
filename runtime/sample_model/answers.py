"""What a model folder answers to every known question, through transformers: `python answers.py FOLDER`."""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_model import lines

LONGEST_ANSWER_TOKENS = 600


def greedy(folder: Path, questions: list[str]) -> dict[str, str]:
    """Each question's most likely answer, with the special token that ends it left in so that a missing end shows."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    answers = {}
    for question in questions:
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            ids = model.generate(**prompt, do_sample=False, max_new_tokens=LONGEST_ANSWER_TOKENS)[0]
        answers[question] = tokenizer.decode(ids[prompt["input_ids"].shape[1] :])
    return answers


def main() -> None:
    """Print a JSON object of question to answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a model folder, such as sample-chat")
    folder: Path = parser.parse_args().folder
    json.dump(greedy(folder, [line.question for line in lines.read()]), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
