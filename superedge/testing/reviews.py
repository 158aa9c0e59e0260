"""Resources that are not stored: access reviews, token reviews, token requests. Pure."""

from __future__ import annotations

from typing import Any

from superedge.testing.auth import Attributes, Authorizer, Tokens, User, authorize
from superedge.testing.defaults import timestamp
from superedge.testing.resources import Resource
from superedge.testing.status import APIError

Object = dict[str, Any]


def review(
    resource: Resource, body: Object, user: User, authorizer: Authorizer, tokens: Tokens, now: float
) -> Object:
    """The response to a posted review."""
    spec = body.get("spec") or {}
    answer = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}, "spec": spec}
    if resource.kind == "SelfSubjectReview":
        status: Object = {"userInfo": user.info()}
    elif resource.kind == "TokenReview":
        status = _token_status(spec.get("token", ""), tokens, now)
    else:
        if resource.kind == "SubjectAccessReview":
            user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
        status = {"allowed": authorize(authorizer, user, _attributes(spec))}
    return answer | {"status": status}


def _attributes(spec: Object) -> Attributes:
    path = spec.get("nonResourceAttributes")
    if path:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    about = spec.get("resourceAttributes") or {}
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(**{name: about.get(name, "") for name in names})


def _token_status(token: str, tokens: Tokens, now: float) -> Object:
    try:
        return {"authenticated": True, "user": tokens.authenticate(token, now).info()}
    except APIError:
        return {"user": {}, "error": "the token is not known here"}


def token_request(body: Object, account: Object, tokens: Tokens, now: float) -> Object:
    """The response to POST serviceaccounts/NAME/token."""
    spec = dict(body.get("spec") or {})
    seconds = spec.setdefault("expirationSeconds", 3600)
    audiences = spec.get("audiences") or []
    metadata = account["metadata"]
    token = tokens.issue(metadata["namespace"], metadata["name"], metadata["uid"], audiences, now, seconds)
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": spec,
        "status": {"token": token, "expirationTimestamp": timestamp(now + seconds)},
    }
