from embedded import gomod

UPSTREAM = """\
// a comment
module k8s.io/kubernetes

go 1.24.0

godebug default=go1.24

require (
	github.com/spf13/cobra v1.9.1
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.130.1
	k8s.io/utils v0.0.0-20250604170112-4c0f3b243397
)

require example.org/single v1.0.0 // indirect

replace (
	k8s.io/api => ./staging/src/k8s.io/api
)

exclude example.org/bad v1.2.3
"""


def test_requirements_are_read_from_blocks_and_single_lines():
    found = [(item.path, item.version) for item in gomod.requirements(UPSTREAM)]
    assert found == [
        ("github.com/spf13/cobra", "v1.9.1"),
        ("k8s.io/api", "v0.0.0"),
        ("k8s.io/klog/v2", "v2.130.1"),
        ("k8s.io/utils", "v0.0.0-20250604170112-4c0f3b243397"),
        ("example.org/single", "v1.0.0"),
    ]


def test_siblings_get_the_published_version_of_the_same_release():
    text = gomod.render(UPSTREAM, "k8s.io/kubernetes", "v1.34.4")
    assert "\tk8s.io/kubernetes v1.34.4\n" in text
    assert "\tk8s.io/api v0.34.4\n" in text
    assert "\tk8s.io/api => k8s.io/api v0.34.4\n" in text
    assert "staging" not in text


def test_pseudo_versions_and_other_modules_stay_as_they_are():
    text = gomod.render(UPSTREAM, "k8s.io/kubernetes", "v1.34.4")
    assert "\tk8s.io/utils v0.0.0-20250604170112-4c0f3b243397\n" in text
    assert "\tk8s.io/klog/v2 v2.130.1\n" in text
    assert "\tgithub.com/spf13/cobra v1.9.1\n" in text


def test_language_version_and_godebug_are_taken_over():
    text = gomod.render(UPSTREAM, "k8s.io/kubernetes", "v1.34.4")
    assert "\ngo 1.24.0\n" in text
    assert "\ngodebug default=go1.24\n" in text


def test_a_module_without_siblings_gets_no_replace_list():
    text = gomod.render("module x\n\ngo 1.23.0\n\nrequire a.b/c v1.0.0\n", "helm.sh/helm/v3", "v3.19.0")
    assert "replace" not in text
    assert "godebug" not in text
    assert gomod.requirements(text) == [
        gomod.Requirement("helm.sh/helm/v3", "v3.19.0"),
        gomod.Requirement("a.b/c", "v1.0.0"),
    ]
