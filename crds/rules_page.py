"""The page of rules: each code, what it wants and where it is checked."""

from headrace_api.crd import NAME_RULE
from headrace_api.rules.chain import CHAIN
from headrace_api.rules.manifest import SHAPE_CODES

HEAD = """# Rules

What `headrace lint`, the admission webhook and the operator check before a model costs a GPU hour. An error refuses:
the webhook refuses the manifest, `headrace lint` exits with 1, and a resource that is in the cluster all the same gets
the status `InvalidSpec`. A warning is shown. The API server itself checks the rules marked CEL, also without the
webhook; where a rule has more to it than CEL can say, it checks a part.

Codes do not change and are not used again: HR0xx shape of the document, HR1xx GPUs, workers and placement, HR2xx
scaling and deployment, HR3xx engine arguments, HR4xx model sources and prompt formats, HR5xx memory, HR6xx queue and
monitoring, HR7xx rollouts, HR9xx fields that this version keeps without doing anything with them.

| code | severity | rule | checked by |
|---|---|---|---|
"""


NEEDS = {
    **dict.fromkeys(("HR104", "HR105"), "lint with `--model-config`"),
    **dict.fromkeys(
        ("HR106", "HR111"), "webhook and operator with the chart's `runtime.gpusPerNode`, lint with `--gpus-per-node`"
    ),
    **dict.fromkeys(("HR501", "HR502"), "lint with `--model-config` and `--gpu-memory`"),
}
"""Rules that need to know more than the manifest, and where they get to know it."""


def page() -> str:
    """The page as Markdown."""
    rows = [(code, "error", text, code in NAME_RULE["message"]) for code, text in SHAPE_CODES.items()]
    rows += [(rule.code, rule.severity, rule.summary, rule.cel is not None) for rule in CHAIN]
    return HEAD + "".join(_row(*row) for row in sorted(rows))


def _row(code: str, severity: str, text: str, cel: bool) -> str:
    schema = {"HR001", "HR002", "HR003"}
    first = "schema, " if code in schema else "CEL, " if cel else ""
    where = NEEDS.get(code, "webhook, operator, lint")
    return f"| {code} | {severity} | {text.replace('|', chr(92) + '|')} | {first}{where} |\n"
