"""The questions the sample model knows, and the answers it must give word by word."""

import csv
from pathlib import Path
from typing import NamedTuple

QUESTIONS = Path(__file__).with_name("questions.tsv")


class Line(NamedTuple):
    """One question and its only right answer."""

    question: str
    answer: str


def read(path: Path = QUESTIONS) -> list[Line]:
    """The lines of a file of tab-separated columns `question` and `answer`, in its order.

    Raises:
        ValueError: a row lacks one of the two; the message holds the file and the row.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for number, row in enumerate(rows, start=2):
        if not row.get("question") or not row.get("answer"):
            raise ValueError(f"{path}:{number}: a row needs a question, a tab and an answer, not {row!r}")
    return [Line(row["question"], row["answer"]) for row in rows]
