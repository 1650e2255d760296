"""The model store: from a path, the Hugging Face Hub, or a bucket of S3 or Google Cloud Storage to a local path.

`fetch` is its door (docs/model-store.md). Pure: `request`, `files`, `chunks`, `snapshot`, `eviction`,
`layout`. Effects: `buckets` and `hub` (the network), `download`, `partial`, `verify`, `cache` and `locks` (the disk).
"""
