"""The two kinds of pydantic base that every document and message is built on."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Document(BaseModel):
    """A file or message that people write: unknown keys are errors, so that a typing mistake is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class KubernetesDocument(BaseModel):
    """A part of a Kubernetes resource: the seed's field names, in camelCase as Kubernetes users expect."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), alias_generator=to_camel, populate_by_name=True
    )


class Message(BaseModel):
    """Something the other side of a connection sends: unknown keys are ignored, so that newer peers can add some."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())
