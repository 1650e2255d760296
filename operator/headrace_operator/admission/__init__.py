"""The admission webhook: the rules of `headrace_api.rules`, told while a model is being applied."""
