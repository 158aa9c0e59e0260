"""The verbs that write: create, update, patch, apply, delete. Pure: time is an argument."""

from __future__ import annotations

import copy
import dataclasses
import random
import uuid
from dataclasses import dataclass
from typing import Any, Literal, cast

from superedge.testing import schemas
from superedge.testing import status as errors
from superedge.testing.apply import apply_configuration, record_update
from superedge.testing.defaults import check, prepare, timestamp
from superedge.testing.patch import PatchError, json_patch, merge_patch, strategic_merge_patch
from superedge.testing.resources import Registry, Resource
from superedge.testing.selectors import Predicate
from superedge.testing.storage import Collection, Key, Object, Store, Stored

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_CRDS = Collection("apiextensions.k8s.io", "customresourcedefinitions")
_NAMESPACES = Collection("", "namespaces")

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """The options of a write; ``manager`` is the field manager, ``now`` is Unix time.

    ``validation`` is what becomes of fields that a custom resource's schema does not know: Strict refuses
    them, Warn drops them and adds to ``warnings``, Ignore drops them.
    """

    now: float
    manager: str = "unknown"
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"
    warnings: list[str] = dataclasses.field(default_factory=list)


def collection_of(resource: Resource) -> Collection:
    """The collection in the store."""
    return Collection(resource.group, resource.plural)


class Operations:
    """Writes to ``store`` by the rules of the Kubernetes API; all methods raise APIError."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self.registry = registry

    def read(self, resource: Resource, key: Key) -> Stored:
        """The current object."""
        stored = self.store.get(collection_of(resource), key)
        if stored is None:
            raise errors.not_found(resource.group, resource.plural, key.name)
        return stored

    def create(self, resource: Resource, namespace: str, item: Any, options: WriteOptions) -> Object:
        """Create an object, whose name may be generated from generateName."""
        item = self._accepted(resource, namespace, item)
        metadata = item["metadata"]
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "".join(random.choices(_LETTERS, k=5))
        item = self._fitted(resource, item, options)
        check(resource, item)
        key = Key(namespace, metadata["name"])
        if namespace and self.store.get(_NAMESPACES, Key("", namespace)) is None:
            raise errors.not_found("", "namespaces", namespace)
        if self.store.get(collection_of(resource), key) is not None:
            raise errors.already_exists(resource.group, resource.plural, key.name)
        prepare(resource, item, self.store.revision, options.now)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = timestamp(options.now)
        metadata.pop("deletionTimestamp", None)
        if resource.generation:
            metadata["generation"] = 1
        if not metadata.get("managedFields"):
            since = timestamp(options.now)
            record_update({}, item, options.manager, since, resource.api_version, schema=resource.schema)
        return self._put(resource, key, item, options)

    def update(
        self, resource: Resource, key: Key, item: Any, options: WriteOptions, subresource: str = ""
    ) -> Object:
        """Replace the object, or only its status."""
        item = self._accepted(resource, key.namespace, item)
        name = item["metadata"].setdefault("name", key.name)
        if name != key.name:
            raise errors.bad_request(
                f"the name of the object ({name}) does not match the name on the URL ({key.name})"
            )
        live = self.read(resource, key)
        return self._replace(resource, live, item, options, subresource, "update")

    def patch(
        self,
        resource: Resource,
        key: Key,
        kind: str,
        patch: Any,
        options: WriteOptions,
        subresource: str = "",
    ) -> tuple[Object, bool]:
        """Patch the object, or create it by an apply patch. Returns (object, whether it was created)."""
        if kind == APPLY_PATCH:
            return self._apply(resource, key, patch, options, subresource)
        live = self.read(resource, key)
        accepted: list[str] = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH]
        try:
            if kind == JSON_PATCH:
                item = json_patch(live.object, patch)
            elif kind == MERGE_PATCH:
                item = merge_patch(live.object, patch)
            elif kind == STRATEGIC_PATCH and not resource.custom:
                item = strategic_merge_patch(live.object, patch)
            else:
                if resource.custom:
                    accepted.remove(STRATEGIC_PATCH)
                raise errors.unsupported_media_type(accepted)
        except PatchError as problem:
            raise errors.APIError(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request: {problem}",
                {"name": key.name, "kind": resource.plural},
            ) from problem
        item = self._accepted(resource, key.namespace, item)
        if item["metadata"].get("name") != key.name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        return self._replace(resource, live, item, options, subresource, "patch"), False

    def delete(
        self, resource: Resource, key: Key, options: Any, now: float, dry_run: bool = False
    ) -> tuple[Object, bool]:
        """Delete the object, or mark it if it has finalizers. Returns (object, whether it was deleted)."""
        stored = self.read(resource, key)
        preconditions = (options or {}).get("preconditions") or {}
        metadata = stored.object["metadata"]
        for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted = preconditions.get(field)
            if wanted is not None and wanted != metadata[field]:
                found = metadata[field]
                why = f"Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}"
                raise errors.conflict(resource.group, resource.plural, key.name, why)
        if dry_run or "All" in ((options or {}).get("dryRun") or ()):
            return stored.object, True
        if metadata.get("finalizers"):
            if metadata.get("deletionTimestamp"):
                return stored.object, False
            item = copy.deepcopy(stored.object)
            item["metadata"]["deletionTimestamp"] = timestamp(now)
            item["metadata"]["deletionGracePeriodSeconds"] = 0
            return self.store.put(collection_of(resource), key, item).object, False
        return self._remove(resource, stored), True

    def delete_collection(
        self,
        resource: Resource,
        namespace: str,
        selected: Predicate | None,
        options: Any,
        now: float,
        dry_run: bool = False,
    ) -> list[Object]:
        """Delete all objects that match. Returns them."""
        stored = self.store.snapshot(collection_of(resource), namespace)
        chosen = [item for item in stored if selected is None or selected(item.object)]
        return [self.delete(resource, item.key, options, now, dry_run)[0] for item in chosen]

    # -- inside

    def _accepted(self, resource: Resource, namespace: str, item: Any) -> Object:
        """A copy whose kind and namespace have been checked and completed."""
        if not isinstance(item, dict) or not isinstance(item.get("metadata", {}), dict | None):
            raise errors.bad_request("the body of the request is not a Kubernetes object")
        item = copy.deepcopy(item)
        kind, version = item.setdefault("kind", resource.kind), item.get("apiVersion", resource.api_version)
        if kind != resource.kind or version != resource.api_version:
            raise errors.bad_request(
                f"the API version in the data ({version}, Kind={kind}) does not match the expected API "
                f"version ({resource.api_version}, Kind={resource.kind})"
            )
        item = {"kind": kind, "apiVersion": version, "metadata": item.get("metadata") or {}} | {
            name: value for name, value in item.items() if name not in ("kind", "apiVersion", "metadata")
        }
        metadata = item["metadata"]
        for field in ("name", "generateName", "namespace", "uid", "resourceVersion"):
            if not isinstance(metadata.get(field, ""), str):
                raise errors.bad_request(f"{kind}.metadata.{field} must be a string")
        if not resource.namespaced:
            metadata.pop("namespace", None)
        elif metadata.setdefault("namespace", namespace) != namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        return cast("dict[str, Any]", item)

    def _fitted(self, resource: Resource, item: Object, options: WriteOptions) -> Object:
        """A custom object as its schema has it."""
        if resource.schema is None:
            return item
        item, unknown = schemas.complete(resource.schema, item)
        said = [f'unknown field "{each}"' for each in unknown]
        if said and options.validation == "Strict":
            raise errors.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {', '.join(said)}"
            )
        if options.validation == "Warn":
            options.warnings.extend(said)
        if causes := list(schemas.problems(resource.schema, item)):
            raise errors.invalid_fields(
                resource.group, resource.kind, item["metadata"].get("name", ""), causes
            )
        return item

    def _replace(
        self,
        resource: Resource,
        live: Stored,
        item: Object,
        options: WriteOptions,
        subresource: str,
        verb: Literal["update", "patch", "apply"],
    ) -> Object:
        old, metadata = live.object, item["metadata"]
        key, was = live.key, old["metadata"]
        version = metadata.get("resourceVersion")
        if version and version != was["resourceVersion"]:
            raise errors.conflict(resource.group, resource.plural, key.name)
        if not version and verb == "update" and resource.custom:
            problem = "Invalid value: 0x0: must be specified for an update"
            field = "metadata.resourceVersion"
            raise errors.invalid(resource.group, resource.kind, key.name, field, problem, "FieldValueInvalid")
        if metadata.get("uid") not in (None, "", was["uid"]):
            why = (
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {was['uid']}"
            )
            raise errors.conflict(resource.group, resource.plural, key.name, why)
        item = self._fitted(resource, item, options)
        if subresource == "status":
            item = {**old, "status": item.get("status", {}), "metadata": copy.deepcopy(was)}
            for field in ("labels", "annotations", "managedFields"):
                if field in metadata and not (resource.custom and field != "managedFields"):
                    item["metadata"][field] = metadata[field]
        elif resource.status:
            item.pop("status", None)
            if "status" in old:
                item["status"] = old["status"]
        metadata = item["metadata"]
        for field in (
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generateName",
        ):
            metadata.pop(field, None)
            if field in was:
                metadata[field] = was[field]
        metadata["resourceVersion"] = was["resourceVersion"]
        check(resource, item)
        if resource.generation and item.get("spec") != old.get("spec"):
            metadata["generation"] = was.get("generation", 1) + 1
        if verb != "apply":
            if "managedFields" not in metadata and "managedFields" in was:
                metadata["managedFields"] = copy.deepcopy(was["managedFields"])
            record_update(
                old, item, options.manager, timestamp(options.now), resource.api_version, subresource,
                resource.schema,
            )  # fmt: skip
        if item == old:
            return old
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not options.dry_run:
            self._remove(resource, live)
            return item
        return self._put(resource, key, item, options)

    def _apply(
        self, resource: Resource, key: Key, patch: Any, options: WriteOptions, subresource: str
    ) -> tuple[Object, bool]:
        configuration = self._accepted(resource, key.namespace, patch)
        name = configuration["metadata"].setdefault("name", key.name)
        if name != key.name:
            raise errors.bad_request(f"name in the body ({name}) does not match the URL ({key.name})")
        if configuration["metadata"].get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        if resource.schema is not None and (unknown := schemas.complete(resource.schema, configuration)[1]):
            raise errors.APIError(
                500,
                "",
                f"failed to create typed patch object ({key.namespace}/{name}; {resource.api_version}, "
                f"Kind={resource.kind}): .{unknown[0]}: field not declared in schema",
            )
        live = self.store.get(collection_of(resource), key)
        since = timestamp(options.now)
        merged = apply_configuration(
            live.object if live else None,
            configuration,
            options.manager,
            since,
            options.force,
            resource.schema,
            subresource,
        )
        if live is None:
            if subresource:
                raise errors.not_found(resource.group, resource.plural, key.name)
            return self.create(resource, key.namespace, merged, options), True
        return self._replace(resource, live, merged, options, subresource, "apply"), False

    def _put(self, resource: Resource, key: Key, item: Object, options: WriteOptions) -> Object:
        if options.dry_run:
            return item
        stored = self.store.put(collection_of(resource), key, item)
        if collection_of(resource) == _CRDS:
            self.registry.register(item)
        return stored.object

    def _remove(self, resource: Resource, stored: Stored) -> Object:
        collection = collection_of(resource)
        if collection == _CRDS:
            self._empty(Collection(stored.object["spec"]["group"], stored.object["spec"]["names"]["plural"]))
            self.registry.unregister(stored.object)
        elif collection == _NAMESPACES:
            for each in sorted({collection_of(item) for item in self.registry.all() if item.namespaced}):
                self._empty(each, stored.key.name)
        return self.store.delete(collection, stored.key).object

    def _empty(self, collection: Collection, namespace: str = "") -> None:
        for item in self.store.snapshot(collection, namespace):
            self.store.delete(collection, item.key)
