"""Which programs are built from which Go modules where their official releases cannot be downloaded."""

from embedded import versions
from embedded.golang import Recipe

_MAJOR, _MINOR, _ = versions.KUBERNETES.removeprefix("v").split(".")
_KUBERNETES_VERSION = tuple(
    (f"{package}.{name}", value)
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for name, value in (("gitVersion", versions.KUBERNETES), ("gitMajor", _MAJOR), ("gitMinor", _MINOR))
)

SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")

KUBERNETES = Recipe(
    name="kubernetes",
    module="k8s.io/kubernetes",
    version=versions.KUBERNETES,
    packages=(("kubernetes", "."), ("kubectl", "k8s.io/kubernetes/cmd/kubectl")),
    variables=_KUBERNETES_VERSION,
    links=SERVERS,
)
HELM = Recipe(
    name="helm",
    module="helm.sh/helm/v3",
    version=versions.HELM,
    packages=(("helm", "helm.sh/helm/v3/cmd/helm"),),
    variables=(
        ("helm.sh/helm/v3/internal/version.version", versions.HELM),
        # what `helm template` and `helm lint` take for the cluster's version when they are not asked
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor", versions.KUBERNETES.removeprefix("v").split(".")[0]),
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", versions.KUBERNETES.split(".")[1]),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor", versions.KUBERNETES.removeprefix("v").split(".")[0]),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor", versions.KUBERNETES.split(".")[1]),
    ),
)
COREDNS = Recipe(
    name="coredns",
    module="github.com/coredns/coredns",
    version=versions.COREDNS,
    packages=(("coredns", "."),),
)
KWOK = Recipe(
    name="kwok",
    module="sigs.k8s.io/kwok",
    version=versions.KWOK,
    packages=(("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
    variables=(("sigs.k8s.io/kwok/pkg/consts.Version", versions.KWOK),),
)
KIND = Recipe(
    name="kind",
    module="sigs.k8s.io/kind",
    version=versions.KIND,
    packages=(("kind", "sigs.k8s.io/kind"),),
)
FLUX = Recipe(
    name="flux",
    module="github.com/fluxcd/pkg/ssa",
    version=versions.FLUX_SSA,
    packages=(("flux-apply", "."),),
)
"""Flux's own way to apply and to wait, for the tests of health checks."""
VERSITYGW = Recipe(
    name="versitygw",
    module="github.com/versity/versitygw",
    version=versions.VERSITYGW,
    packages=(("versitygw", "github.com/versity/versitygw/cmd/versitygw"),),
)
"""Buckets over the S3 protocol, for the tests of the model store."""
FAKE_GCS = Recipe(
    name="fake-gcs-server",
    module="github.com/fsouza/fake-gcs-server",
    version=versions.FAKE_GCS,
    packages=(("fake-gcs-server", "github.com/fsouza/fake-gcs-server"),),
)
"""Buckets over the protocol of Google Cloud Storage, likewise."""
