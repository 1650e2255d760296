"""From a checkout to a running Headrace: the Python environment, the cluster with its images, the chart."""
