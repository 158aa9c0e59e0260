"""The embedded API server's HTTP side: Klein routes over `superedge.testing.operations`."""

from __future__ import annotations

import gzip
import hashlib
from typing import cast
from uuid import uuid4

import msgspec
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from werkzeug.exceptions import HTTPException

from superedge.net.tlstransport import common_name_of, organizations_of
from superedge.testing import auth, discovery, reviews
from superedge.testing import status as errors
from superedge.testing.calls import Call, body_of
from superedge.testing.egress import Connector
from superedge.testing.kubelets import KubeletProxy
from superedge.testing.listing import list_page, parse_version
from superedge.testing.operations import APPLY_PATCH, Operations, WriteOptions, collection_of
from superedge.testing.representation import Representation, negotiate
from superedge.testing.resources import Registry, Subresource
from superedge.testing.storage import Object, Store
from superedge.testing.watching import Watch

_log = Logger()
GZIP_FROM = 128 * 1024
"""Minimum bytes of a compressed response, as in kube-apiserver."""


class EmbeddedAPI:
    """Serves ``store``. ``connector`` connects to kubelets; without it, pods have no logs."""

    app = Klein()

    def __init__(
        self,
        reactor: IReactorTime,
        store: Store,
        registry: Registry,
        tokens: auth.Tokens,
        authorizer: auth.Authorizer = auth.allow_authenticated,
        connector: Connector | None = None,
        bookmark_interval: float = 60.0,
    ) -> None:
        self.operations = Operations(store, registry)
        self._reactor = reactor
        self._store = store
        self._registry = registry
        self._tokens = tokens
        self._authorizer = authorizer
        self._kubelets = KubeletProxy(self.operations, connector) if connector else None
        self._bookmark_interval = bookmark_interval
        self._watches: set[Watch] = set()

    def close(self) -> None:
        """End all watches."""
        for watch in tuple(self._watches):
            watch.end()

    # -- authentication

    def authenticate(self, request: Request) -> auth.User:
        """The user of a request. Sets the request's audit ID. Raises APIError 401."""
        request.setHeader("audit-id", str(uuid4()))
        header = request.getHeader("authorization") or ""
        certificate = getattr(request.channel.transport, "peer_certificate", None) or {}
        name = common_name_of(certificate)
        if name is not None:
            user = auth.with_authenticated(name, organizations_of(certificate))
        elif header.lower().startswith("bearer "):
            user = self._tokens.authenticate(header[7:].strip(), self._reactor.seconds())
        else:
            user = auth.ANONYMOUS
        other = request.getHeader("impersonate-user")
        if other is None:
            return user
        if not auth.authorize(self._authorizer, user, auth.Attributes("impersonate", resource="users")):
            raise errors.forbidden("", "users", other, f'User "{user.name}" cannot impersonate users')
        groups = request.requestHeaders.getRawHeaders("impersonate-group") or []
        return auth.with_authenticated(other, groups)

    def _authorize(self, user: auth.User, attributes: auth.Attributes) -> None:
        if auth.authorize(self._authorizer, user, attributes):
            return
        if attributes.path:
            raise errors.APIError(
                403,
                "Forbidden",
                f'forbidden: User "{user.name}" cannot {attributes.verb} path "{attributes.path}"',
                {},
            )
        scope = (
            f' in the namespace "{attributes.namespace}"' if attributes.namespace else " at the cluster scope"
        )
        plural = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
        why = (
            f'User "{user.name}" cannot {attributes.verb} resource "{plural}" '
            f'in API group "{attributes.group}"{scope}'
        )
        raise errors.forbidden(attributes.group, attributes.resource, attributes.name, why)

    # -- responses

    def _send(self, request: Request, body: bytes, kind: str = "application/json", code: int = 200) -> bytes:
        request.setResponseCode(code)
        request.setHeader("content-type", kind)
        request.setHeader("cache-control", "no-cache, private")
        if len(body) >= GZIP_FROM and "gzip" in (request.getHeader("accept-encoding") or ""):
            request.setHeader("content-encoding", "gzip")
            request.setHeader("vary", "Accept-Encoding")
            return gzip.compress(body, 1)
        return body

    def _document(self, request: Request, document: Object | None) -> bytes:
        path = request.path.decode()
        self._authorize(self.authenticate(request), auth.Attributes("get", path=path))
        if document is None:
            return self._send(request, b"404 page not found\n", "text/plain; charset=utf-8", 404)
        return self._send(request, msgspec.json.encode(document))

    @app.handle_errors(errors.APIError)  # type: ignore[arg-type]
    def _failed(self, request: Request, failure: Failure) -> bytes:
        problem = cast(errors.APIError, failure.value)
        if problem.code == 504:
            request.setHeader("retry-after", "1")
        return self._send(request, msgspec.json.encode(problem.status()), code=problem.code)

    @app.handle_errors(Exception)  # type: ignore[arg-type]
    def _broken(self, request: Request, failure: Failure) -> bytes:
        if failure.check(HTTPException):  # no such route: Klein responds
            failure.raiseException()
        _log.failure("{method} {uri} failed", failure, method=request.method, uri=request.uri)
        problem = errors.internal(failure.getErrorMessage())
        return self._send(request, msgspec.json.encode(problem.status()), code=problem.code)

    # -- documents

    @app.route("/version")
    def _version(self, request: Request) -> bytes:
        return self._document(request, discovery.VERSION)

    @app.route("/healthz", branch=True)
    @app.route("/livez", branch=True)
    @app.route("/readyz", branch=True)
    def _health(self, request: Request) -> bytes:
        self._authorize(self.authenticate(request), auth.Attributes("get", path=request.path.decode()))
        return self._send(request, b"ok", "text/plain; charset=utf-8")

    @app.route("/openapi/v2")
    def _openapi_v2(self, request: Request) -> bytes:
        return self._document(request, discovery.openapi_v2())

    @app.route("/openapi/v3")
    def _openapi_v3_root(self, request: Request) -> bytes:
        return self._document(request, discovery.openapi_v3_root(self._registry))

    @app.route("/openapi/v3/api/<version>")
    def _openapi_v3_core(self, request: Request, version: str) -> bytes:
        return self._document(request, discovery.openapi_v3(self._registry, "", version))

    @app.route("/openapi/v3/apis/<group>/<version>")
    def _openapi_v3(self, request: Request, group: str, version: str) -> bytes:
        return self._document(request, discovery.openapi_v3(self._registry, group, version))

    def _root(self, request: Request, core: bool) -> bytes:
        request.setHeader("vary", "Accept")
        if not discovery.wants_aggregated(request.getHeader("accept") or ""):
            host = request.getHeader("host") or ""
            plain = discovery.api_versions(host) if core else discovery.group_list(self._registry)
            return self._document(request, plain)
        body = self._document(request, discovery.aggregated(self._registry, core))
        request.setHeader("content-type", discovery.AGGREGATED)
        etag = hashlib.sha256(body).hexdigest().upper().encode()
        # setETag responds with 304 when the client has this document.
        return b"" if request.setETag(b'"%s"' % etag) else body

    @app.route("/api")
    def _core(self, request: Request) -> bytes:
        return self._root(request, True)

    @app.route("/apis")
    def _groups(self, request: Request) -> bytes:
        return self._root(request, False)

    @app.route("/apis/<group>")
    def _group(self, request: Request, group: str) -> bytes:
        return self._document(request, discovery.one_group(self._registry, group))

    @app.route("/api/<version>")
    def _core_resources(self, request: Request, version: str) -> bytes:
        return self._document(request, discovery.resource_list(self._registry, "", version))

    @app.route("/apis/<group>/<version>")
    def _group_resources(self, request: Request, group: str, version: str) -> bytes:
        return self._document(request, discovery.resource_list(self._registry, group, version))

    # -- resources

    @app.route("/api/<version>/<path:rest>")
    async def _core_call(self, request: Request, version: str, rest: str) -> bytes:
        return await self._dispatch(request, "", version, rest)

    @app.route("/apis/<group>/<version>/<path:rest>")
    async def _group_call(self, request: Request, group: str, version: str, rest: str) -> bytes:
        return await self._dispatch(request, group, version, rest)

    def _call(self, request: Request, group: str, version: str, rest: str) -> Call | None:
        parts, namespace = [part for part in rest.split("/") if part], ""
        if len(parts) > 2 and parts[0] == "namespaces" and parts[2] not in ("status", "finalize"):
            namespace, parts = parts[1], parts[2:]
        resource = self._registry.find(group, version, parts[0]) if parts else None
        if resource is None or (bool(namespace) and not resource.namespaced):
            return None
        return Call(request, resource, namespace, parts[1:])

    async def _dispatch(self, request: Request, group: str, version: str, rest: str) -> bytes:
        user = self.authenticate(request)
        call = self._call(request, group, version, rest)
        if call is None:
            return self._send(request, b"404 page not found\n", "text/plain; charset=utf-8", 404)
        resource, verb = call.resource, call.verb()
        self._authorize(
            user,
            auth.Attributes(verb, group, resource.plural, call.subresource, call.namespace, call.name),
        )
        if call.subresource:
            sub = next((each for each in resource.all_subresources() if each.name == call.subresource), None)
            if sub is None:
                return self._send(request, b"404 page not found\n", "text/plain; charset=utf-8", 404)
            if sub.name != "status":
                return await self._subresource(call, sub)
        if resource.virtual:
            return self._review(call, user)
        if verb == "watch":
            return await self._watch(call)
        if verb in ("get", "list"):
            return self._read(call)
        return self._write(call, verb)

    def _representation(self, call: Call) -> Representation:
        form = negotiate(call.request.getHeader("accept") or "")
        return Representation(
            call.resource, form, call.query.get("includeObject", ""), self._reactor.seconds()
        )

    def _read(self, call: Call) -> bytes:
        representation = self._representation(call)
        if call.name:
            asked = parse_version(call.query.get("resourceVersion") or "0")
            if asked > self._store.revision:
                raise errors.too_large(asked, self._store.revision)
            stored = self.operations.read(call.resource, call.key)
            return self._send(call.request, representation.one(stored.object))
        page = list_page(
            self._store, collection_of(call.resource), call.namespace, call.query, call.selected()
        )
        return self._send(call.request, representation.list(page.items, page.metadata))

    async def _watch(self, call: Call) -> bytes:
        representation = self._representation(call)
        self._send(call.request, b"")
        watch = Watch(
            self._reactor,
            call.request,
            self._store,
            collection_of(call.resource),
            call.namespace,
            call.selected(),
            representation,
            self._bookmark_interval,
        )
        self._watches.add(watch)
        try:
            watch.start(call.query)
            await watch.done
        finally:
            self._watches.discard(watch)
        return b""

    def _write(self, call: Call, verb: str) -> bytes:
        request, resource, query = call.request, call.resource, call.query
        representation, operations = self._representation(call), self.operations
        agent = (request.getHeader("user-agent") or "unknown").partition("/")[0]
        dry_run = query.get("dryRun") == "All"
        now = self._reactor.seconds()
        options = WriteOptions(
            now,
            query.get("fieldManager") or agent,
            dry_run,
            query.get("force") in ("true", "1"),
            query.get("fieldValidation") or "Warn",
        )
        code = 200
        if resource.namespaced and not call.namespace:
            raise errors.method_not_allowed()
        if verb == "deletecollection":
            body = body_of(request)
            gone = operations.delete_collection(resource, call.namespace, call.selected(), body, now, dry_run)
            result: Object = {
                "kind": resource.list_kind,
                "apiVersion": resource.api_version,
                "metadata": {"resourceVersion": str(self._store.revision)},
                "items": gone,
            }
            return self._send(request, msgspec.json.encode(result))
        if (verb == "create") is bool(call.name):
            raise errors.method_not_allowed()
        if verb == "create":
            result, code = operations.create(resource, call.namespace, body_of(request), options), 201
        elif verb == "update":
            result = operations.update(resource, call.key, body_of(request), options, call.subresource)
        elif verb == "patch":
            kind = (request.getHeader("content-type") or "").partition(";")[0].strip()
            if kind == APPLY_PATCH and not query.get("fieldManager"):
                problem = "Required value: is required for apply patch"
                raise errors.invalid(
                    "meta.k8s.io", "PatchOptions", "", "fieldManager", problem, "FieldValueRequired"
                )
            result, made = operations.patch(
                resource, call.key, kind, body_of(request), options, call.subresource
            )
            code = 201 if made else 200
        else:
            result, gone_now = operations.delete(resource, call.key, body_of(request), now, dry_run)
            if gone_now and not resource.returned:
                details = {"name": call.name, "group": resource.group, "kind": resource.plural}
                details["uid"] = result["metadata"]["uid"]
                result = errors.success({key: value for key, value in details.items() if value})
        for warning in options.warnings:
            escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
            request.responseHeaders.addRawHeader("warning", f'299 - "{escaped}"')
        return self._send(request, representation.one(result), code=code)

    def _review(self, call: Call, user: auth.User) -> bytes:
        if call.verb() != "create":
            raise errors.method_not_allowed()
        body = body_of(call.request) or {}
        result = reviews.review(
            call.resource, body, user, self._authorizer, self._tokens, self._reactor.seconds()
        )
        return self._send(call.request, msgspec.json.encode(result), code=201)

    async def _subresource(self, call: Call, sub: Subresource) -> bytes:
        stored = self.operations.read(call.resource, call.key)
        if call.verb() not in sub.verbs:
            raise errors.method_not_allowed()
        if sub.name == "token":
            body = reviews.token_request(
                body_of(call.request) or {}, stored.object, self._tokens, self._reactor.seconds()
            )
            return self._send(call.request, msgspec.json.encode(body), code=201)
        if sub.name == "binding":
            target = (body_of(call.request) or {}).get("target", {}).get("name", "")
            pod = {**stored.object, "spec": {**stored.object["spec"], "nodeName": target}}
            options = WriteOptions(self._reactor.seconds(), "scheduler")
            self.operations.update(call.resource, call.key, pod, options)
            return self._send(call.request, msgspec.json.encode(errors.success({})), code=201)
        if self._kubelets is None:
            raise errors.unavailable("this embedded API server has no way to kubelets")
        return await self._kubelets(call.request, stored.object, call.resource, sub.name, call.further)
