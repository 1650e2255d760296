"""The page on what keeps a model from being ready: each reason of the operator's table, what it means, what to do."""

from headrace_operator.root_cause import RULES, Rule

HEAD = """# When a model is not ready

`kubectl get inferencemodels.headrace.dev --output wide` shows why, and so does the condition Ready of the resource: its
`reason` is one of the words below and does not change between versions; its `message` holds the facts (how many GPUs
were asked for, which image, what the engine wrote last) and what to do. One Event is recorded when the reason changes.

The conditions follow kstatus, which Argo CD, Flux and `kubectl wait` read: while a cause may pass by itself,
`Reconciling` is True; once somebody has to change something, `Stalled` is. What counts as such is in the third column:

- *may pass*: the operator waits and tells.
- *when it comes again*: permanent once the worker has ended of it three times.
- *somebody has to act*: permanent at once.

Only the newest revision's workers count: those of an earlier spec that still fail say nothing of the present one. Of
several causes the gravest is told.
"""

LASTING = {"passes": "may pass", "comes again": "when it comes again", "stays": "somebody has to act"}

TITLES = {
    "nodes": "Nodes",
    "the API server": "Pods that are not let in",
    "containers": "Containers that cannot be started",
    "images": "Images",
    "the queue": "The queue",
    "the engine": "The engine and its model",
    "scheduling": "Scheduling",
    "time": "Time",
}

BEFORE = """
## Before any worker is made

| reason | what it means | | what to do |
|---|---|---|---|
| InvalidSpec | The spec breaks a rule; what runs is left running. | somebody has to act | correct the fields that the \
message names ([rules](configuration/rules.md)) |
| EngineNotAvailable | The installation has no runtime image for spec.engine.type. | somebody has to act | set \
runtime.images in the chart's values, or choose another engine |
| AcceleratorNotAvailable | The installation has no accelerator profile of the name that the spec asks for. | \
somebody has to act | set runtime.accelerators in the chart's values, or choose another accelerator |
| NameTaken | An object that the model needs exists and is somebody else's. | somebody has to act | rename one of them |
| ApplyRefused | The API server does not accept an object; mostly because of spec.template. | somebody has to act | \
change what the message names |
| BeingDeleted | The model is being deleted without its objects, which are left as they are. | may pass | nothing |
| WaitingForDeletion | The objects of an earlier model of this name are still being deleted. | may pass | wait |

## Rollouts

| reason | what it means | | what to do |
|---|---|---|---|
| RolloutFailed | A new revision had no further ready worker for spec.rollout.progressDeadlineSeconds and was stopped; \
the message holds the cause, one of those below. | somebody has to act | mend it: a changed spec is a new attempt |
"""


def page() -> str:
    """The page as Markdown."""
    return HEAD + BEFORE + "".join(_section(title, group) for group, title in TITLES.items())


def _section(title: str, group: str) -> str:
    rows = "".join(_row(rule) for rule in RULES if rule.group == group)
    return f"\n## {title}\n\n| reason | what it means | | what to do |\n|---|---|---|---|\n{rows}"


def _row(rule: Rule) -> str:
    cells = (rule.reason, rule.meaning, LASTING[rule.lasting], rule.hint)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
