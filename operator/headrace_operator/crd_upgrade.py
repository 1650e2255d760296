"""`headrace-upgrade-crd`: brings the CRD in the cluster to this version; the chart's hook runs it before an upgrade.

helm installs the files in a chart's `crds/` once and never changes them. The whole spec is replaced, not applied: with
server-side apply helm's own field manager would keep every property that a later version has taken out. Nothing else of
the CRD is touched, and no custom resource: deleting or creating a CRD is beyond this program's rights.
"""

import asyncio
import re
import sys

from headrace_api import names
from headrace_api.crd import custom_resource_definition
from headrace_operator import cluster, settings
from headrace_operator.observed import Object


class UpgradeError(Exception):
    """The CRD is left as it is; the message says why."""


def upgraded(live: Object | None, wanted: Object) -> Object:
    """The CRD to write.

    Args:
        live: the CRD in the cluster; None when there is none.
        wanted: the CRD of this version.

    Raises:
        UpgradeError: there is none, or it is of a later version, which another release of the chart may need.
    """
    if live is None:
        name = wanted["metadata"]["name"]
        raise UpgradeError(f"there is no CRD {name}: create it with `headrace crd | kubectl create -f -`")
    metadata = live["metadata"]
    annotations = metadata.get("annotations") or {}
    theirs = annotations.get(names.ANNOTATION_CRD_VERSION, "0")
    ours = _version(wanted)
    if _numbers(theirs) > _numbers(ours):
        raise UpgradeError(
            f"the CRD is of version {theirs}, later than {ours}: set crds.upgrade=false to go on with it"
        )
    annotations = {**annotations, names.ANNOTATION_CRD_VERSION: ours}
    return {**live, "metadata": {**metadata, "annotations": annotations}, "spec": wanted["spec"]}


def _version(crd: Object) -> str:
    return str(crd["metadata"]["annotations"][names.ANNOTATION_CRD_VERSION])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


async def run(*, in_cluster: bool) -> str:
    """Replace the CRD's spec; returns what was done, in words.

    Raises:
        UpgradeError: it was not.
    """
    wanted = custom_resource_definition()
    async with cluster.connect(in_cluster=in_cluster) as connection:
        written = await connection.replace(upgraded(await connection.get(wanted), wanted))
    return f"{written['metadata']['name']} is of version {_version(written)}"


def main() -> None:
    """Run once; exit 1 when the CRD could not be upgraded."""
    try:
        print(asyncio.run(run(in_cluster=settings.in_cluster())))  # noqa: T201
    except Exception as error:  # noqa: BLE001  # helm shows the hook's last line, whatever went wrong
        print(f"headrace-upgrade-crd: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
