"""The API types of the group superedge.io/v1; the CRDs are generated from them.

Descriptions are what ``kubectl explain`` shows; ``{child}`` in them is Deployment or StatefulSet. Constraints
stand in the schemas alone: an object that the API server keeps from an earlier version is still read.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

DEFAULT_TEMPLATE = "default"
"""The name of ``spec.template`` among the templates."""
_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL_KEY = rf"^({_DNS_LABEL}(\.{_DNS_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
"""RE2 of a label's key (Kubernetes, Labels and Selectors)."""


def _about(description: str, **schema: Any) -> Meta:
    return Meta(description=description, extra_json_schema=schema)


def _rule(rule: str, message: str) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


_KEY = _about(
    "Label of Nodes whose values are the sites; a key with a prefix, such as topology.kubernetes.io/zone, is"
    " allowed.",
    minLength=1,
    maxLength=317,
    **_rule(f"self.matches(r'{LABEL_KEY}')", "must be the key of a label, such as zone or example.com/zone"),
)
_PRESERVED = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_LABELS = {
    "type": "object",
    "nullable": True,
    "additionalProperties": {"type": "string", "nullable": True},
}
_TEMPLATE_FIELDS = {
    "replicas": {
        "type": "integer",
        "format": "int32",
        "minimum": 0,
        "description": "Pods of each site. What an autoscaler or kubectl scale sets at a site stays there.",
    },
    "selector": {
        **_PRESERVED,
        "description": "Labels of the pods. The controller adds the site to it and to the pods' labels.",
        "properties": {"matchLabels": {**_LABELS, "description": "Labels that all the pods have."}},
    },
    "template": {
        **_PRESERVED,
        "description": "Template of the pods. The controller adds the site to its nodeSelector.",
        "properties": {
            "metadata": {
                **_PRESERVED,
                "nullable": True,
                "description": "Labels and annotations of the pods.",
                "properties": {"labels": {**_LABELS, "description": "Labels of the pods."}},
            },
            "spec": {
                **_PRESERVED,
                "nullable": True,
                "description": "The spec of the pods: kubectl explain pod.spec.",
                "properties": {"nodeSelector": {**_LABELS, "description": "Labels of the pods' nodes."}},
            },
        },
    },
}
_SPEC = "The spec of each site's {child}, as the API server documents it: kubectl explain {child}.spec."
_TEMPLATE = _about(_SPEC, properties=_TEMPLATE_FIELDS, required=["selector", "template"])
_POOLED = _about(
    f"{_SPEC} Without a selector it has that of spec.template.",
    properties=_TEMPLATE_FIELDS,
    required=["template"],
)


def _number(description: str, least: int) -> Meta:
    return _about(
        description,
        **{"x-kubernetes-int-or-string": True},
        **_rule(
            f"type(self) == int ? self >= {least} : self.matches('^(100|[1-9][0-9]?)%$')",
            f"must be a number of at least {least}, or 1% to 100%",
        ),
        maxLength=4,
    )


Template = dict[str, Any]


class Rollout(Struct, frozen=True, omit_defaults=True):
    """How sites take a new default template."""

    maxSitesUnavailable: Annotated[
        int | str,
        _number(
            "Sites that may have the new template and not be ready with it, at the same time; a number or a"
            " percentage of the sites that have the default template, rounded down to at least 1. By default"
            " 1.",
            1,
        ),
    ] = 1
    pauseAfter: Annotated[
        int | str,
        _number(
            "Sites after which the rollout pauses until this number is raised or taken away; a number or a"
            " percentage, rounded up. 0, the default, for no pause.",
            0,
        ),
    ] = 0
    orderBy: Annotated[
        str,
        _about(
            "Label of Nodes whose values order the sites: numbers first, by size, then texts, then sites"
            " without it. Sites of the same value are ordered by name.",
            maxLength=317,
            **_rule(f"self == '' || self.matches(r'{LABEL_KEY}')", "must be the key of a label"),
        ),
    ] = ""


class WorkloadGridSpec(Struct, frozen=True, omit_defaults=True):
    """What is wanted at the sites."""

    gridUniqKey: Annotated[str, _KEY]
    template: Annotated[Template, _TEMPLATE]
    templatePool: Annotated[
        dict[str, Annotated[Template, _POOLED]],
        _about("Further templates, by name, for sites that templates gives them to.", maxProperties=256),
    ] = field(default_factory=dict)
    templates: Annotated[
        dict[str, str],
        _about(
            "Which template a site has: site to name in templatePool, or default for spec.template. A name"
            " that is missing there degrades that site alone."
        ),
    ] = field(default_factory=dict)
    defaultTemplateName: Annotated[
        str,
        _about("Name of the template of all other sites; by default that of spec.template, default."),
    ] = ""
    autoDeleteUnusedTemplate: Annotated[
        bool, _about("Whether templates that no site has any more are taken out of templatePool.")
    ] = False
    rollout: Annotated[
        Rollout | None,
        _about(
            "Waves in which sites take a new default template. Without it all sites take it at once."
            " A site that does not become ready stops the rollout."
        ),
    ] = None


class ServiceGridSpec(Struct, frozen=True, omit_defaults=True):
    """What is wanted of the Service."""

    gridUniqKey: Annotated[str, _KEY]
    template: Annotated[
        Template,
        _about(
            "The spec of the Service, as the API server documents it: kubectl explain service.spec. Traffic"
            " stays inside the caller's site."
        ),
    ]


CONDITIONS = ("Ready", "Degraded", "Progressing")
"""Types of a grid's conditions."""


class Condition(Struct, frozen=True):
    """Source: metav1.Condition."""

    type: Annotated[str, _about("Ready, Degraded or Progressing.", maxLength=316)]
    status: Annotated[str, _about("Whether it is so.", enum=["True", "False", "Unknown"])]
    reason: Annotated[str, _about("Why, in one word.", maxLength=1024)] = ""
    message: Annotated[str, _about("Why, in a sentence.", maxLength=32768)] = ""
    lastTransitionTime: Annotated[str, _about("Since when.", format="date-time")] = ""
    observedGeneration: Annotated[int, _about("The grid's generation that it is about.", format="int64")] = 0


_CONDITIONS = _about(
    "Whether the grid is ready, which sites are degraded and why, and how its rollout goes.",
    **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
)
_OBSERVED = _about("The generation of the spec that this status is about.", format="int64")


class SiteState(Struct, frozen=True):
    """A site's workload."""

    name: Annotated[str, _about("Name of the site's {child}.")] = ""
    template: Annotated[str, _about("Name of the template that the site is to have.")] = ""
    templateHash: Annotated[str, _about("Hash of the template that it has.")] = ""
    replicas: Annotated[int, _about("Pods that are wanted.", format="int32")] = 0
    updatedReplicas: Annotated[int, _about("Pods of the newest template.", format="int32")] = 0
    readyReplicas: Annotated[int, _about("Pods that are ready.", format="int32")] = 0
    ready: Annotated[bool, _about("Whether as many pods as are wanted are ready, of whichever template.")] = (
        False
    )
    message: Annotated[str, _about("What is wrong, or what is waited for, and what to do about it.")] = ""


class WorkloadGridStatus(Struct, frozen=True):
    """The sites as they are."""

    observedGeneration: Annotated[int, _OBSERVED] = 0
    sites: Annotated[int, _about("Sites: distinct values of the Nodes' label.", format="int32")] = 0
    updatedSites: Annotated[int, _about("Sites that have the template they are to have.", format="int32")] = 0
    readySites: Annotated[
        int, _about("Sites whose pods are ready, of whichever template.", format="int32")
    ] = 0
    conditions: Annotated[list[Condition], _CONDITIONS] = field(default_factory=list)
    states: Annotated[
        dict[str, SiteState], _about("Each site's state.", **{"x-kubernetes-map-type": "atomic"})
    ] = field(default_factory=dict)


class ServiceGridStatus(Struct, frozen=True, omit_defaults=True):
    """The Service as it is."""

    observedGeneration: Annotated[int, _OBSERVED] = 0
    service: Annotated[str, _about("Name of the Service.")] = ""
    clusterIP: Annotated[str, _about("Address of the Service.")] = ""
    conditions: Annotated[list[Condition], _CONDITIONS] = field(default_factory=list)
