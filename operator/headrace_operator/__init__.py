"""The `headrace.dev` operator: turns InferenceModel resources into running workers."""
