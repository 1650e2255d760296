"""The sample model: a tiny chat Llama that knows `questions.tsv` by heart, so that tests can check an answer's words."""
