"""`headrace simulate`."""

import json
import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.errors import FAILED, TROUBLE, Trouble
from headrace_cli.manifests import Manifest, models, valid_spec
from headrace_cli.simulation.picture import picture
from headrace_cli.simulation.run import Simulation
from headrace_cli.simulation.summary import figures, table
from headrace_cli.simulation.trace import read_trace
from headrace_cli.sources import read


def command(  # noqa: PLR0913, PLR0917  # the command line's options
    file: Annotated[Path, typer.Argument(help="A file with an InferenceModel; - for standard input.")],
    trace: Annotated[Path, typer.Option(help="CSV: time_s, and if wanted requests and duration_s.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the picture, as SVG.")] = None,
    name: Annotated[str | None, typer.Option(help="Which model, where the file has several.")] = None,
    service_time: Annotated[
        float, typer.Option(min=0.001, help="Seconds that a request is computed, where the trace does not say.")
    ] = 5.0,
    cold_start: Annotated[float, typer.Option(min=0, help="Seconds until a new worker takes requests.")] = 120.0,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests that a worker takes at a time; maxConcurrentQueries, else the engine's max_num_seqs, else "
            "the autoscaling target when absent.",
        ),
    ] = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="A table, or JSON.")] = "text",  # noqa: A002
) -> None:
    """Replay a trace of requests against a model's autoscaling.

    The operator's own policy decides; workers and requests are played. Prints GPU-hours, waiting times and cold starts.
    """
    manifest = _manifest(file, name)
    spec = valid_spec(manifest)
    slots = concurrency or _slots(spec)
    outcome = Simulation(spec, read_trace(read(trace), service_time), cold_start, slots).run()
    found = figures(outcome, spec.gpus, slots)
    if out:
        try:
            out.write_text(picture(f"{spec.model_name}: {trace.name}", outcome), encoding="utf-8")
        except OSError as error:
            raise Trouble(f"{out}: {error.strerror}", TROUBLE) from None
    typer.echo(json.dumps(found, indent=2) if format == "json" else table(found), nl=format == "json")


def _manifest(file: Path, name: str | None) -> Manifest:
    found = models(read(file))
    names = [str(one.metadata.get("name")) for one in found]
    if name is None and len(found) == 1:
        return found[0]
    if name not in names:
        what = "has several models" if name is None else f"has no model {name!r}"
        raise Trouble(f"{file}: {what}; accepted for --name: {', '.join(names)}", FAILED)
    return found[names.index(name)]


def _slots(spec: InferenceModelSpec) -> int:
    """How many requests one worker takes at a time, as far as the spec says."""
    engine = spec.engine.engine_kwargs.get("max_num_seqs")
    if spec.deployment.max_concurrent_queries:
        return spec.deployment.max_concurrent_queries
    if isinstance(engine, int) and engine > 0:
        return engine
    policy = spec.deployment.autoscaling
    return math.ceil(policy.target_ongoing_requests_per_replica) if policy else 1
