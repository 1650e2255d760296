"""The pages' examples, and that the program which checks them notices what is wrong."""

from pathlib import Path

import pytest

from tests.docs.worked_examples import blocks, check, commands

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "configuration").glob("coming-from-*.md"))

GOOD = """
```toml title=a.toml
x = 1
```

```text
not looked at
```

```console status=3
$ cat a.toml
x = 1
$ seq 5; echo to stderr >&2
1
...
5
to stderr
$ true
$ exit 3
```
"""


def a_page(folder: Path, text: str) -> Path:
    (folder / "page.md").write_text(text)
    return folder / "page.md"


def test_what_a_page_shows_is_done(tmp_path: Path) -> None:
    assert check(a_page(tmp_path, GOOD), tmp_path) == 4
    assert [block.line for block in blocks(GOOD)] == [2, 6, 10]
    assert [command.line for command in commands(blocks(GOOD)[2])] == [11, 13, 18, 19]


@pytest.mark.parametrize(
    ("shown", "done", "message"),
    [
        ("x = 1\n$ seq", "x = 2\n$ seq", "line 11: .* cat a.toml"),
        ("...", "7\n...", "line 13: .* seq 5"),
        ("status=3", "", "ends with 3"),
        ("$ true", "$ false", "line 18: .* false"),
        ("$ cat", "cat", "begins with a command"),
    ],
)
def test_what_is_wrong_is_noticed(tmp_path: Path, shown: str, done: str, message: str) -> None:
    assert shown in GOOD
    with pytest.raises(AssertionError, match=message):
        check(a_page(tmp_path, GOOD.replace(shown, done)), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_work(page: Path, tmp_path: Path) -> None:
    assert check(page, tmp_path)
