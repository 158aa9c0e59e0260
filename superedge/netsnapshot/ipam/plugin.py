"""The plugin itself, as the CNI specification 1.1.0 has it: https://www.cni.dev/docs/spec/"""

import posix
import sys
from _signal import ITIMER_REAL, SIGALRM, setitimer, signal  # type: ignore[import-not-found]

from superedge.netsnapshot.ipam import errors
from superedge.netsnapshot.ipam.addresses import Range, canonical
from superedge.netsnapshot.ipam.allocation import Attachment
from superedge.netsnapshot.ipam.configuration import (
    VERSIONS,
    Document,
    Network,
    arguments,
    decode_configuration,
    is_name,
    range_sets,
    requested_addresses,
    resolv_conf,
    resolv_conf_path,
    routes_of,
    valid_attachments,
    version_of,
)
from superedge.netsnapshot.ipam.documents import decode, encode
from superedge.netsnapshot.ipam.errors import IPAMError
from superedge.netsnapshot.ipam.hostlocal import RESULTS, read, read_all
from superedge.netsnapshot.ipam.networkfile import NetworkFile, moment

_ENOUGH = 60
"""Seconds after which a command gives up: another process holds the lock, or the disk does not answer."""
_NEEDS = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

Environment = dict[str, str]


def run(environment: Environment, data: bytes, results: str = RESULTS) -> tuple[int, str]:
    """Do one command: the exit code, and what to write to standard output.

    ``environment`` has the variables CNI_*, ``data`` is the standard input.
    """
    version = VERSIONS[-1]
    try:
        command = environment.get("CNI_COMMAND", "")
        _check_environment(command, environment)
        if command == "VERSION":
            return 0, _versions(data)
        document = decode_configuration(data)
        version = version_of(document)
        since = _SINCE.get(command, "")
        if version < since:
            text = f"{command} needs cniVersion {since} or later, and the configuration has {version}"
            raise IPAMError(errors.INCOMPATIBLE_VERSION, text)
        done = _Command(environment, document, results)
        return 0, {
            "ADD": done.add,
            "DEL": done.delete,
            "CHECK": done.check,
            "GC": done.collect,
            "STATUS": done.status,
        }[command]()
    except IPAMError as problem:
        code, text = problem.code, str(problem)
    except OSError as problem:
        code, text = errors.IO_FAILURE, f"{problem.filename or 'a file'}: {problem.strerror}"
    except Exception as problem:
        sys.excepthook(type(problem), problem, problem.__traceback__)
        code, text = errors.INTERNAL, f"{type(problem).__name__}: {problem}"
    return 1, encode({"cniVersion": version, "code": code, "msg": text})


def _check_environment(command: str, environment: Environment) -> None:
    if command not in _NEEDS:
        accepted = ", ".join(_NEEDS)
        raise IPAMError(errors.INVALID_ENVIRONMENT, f"CNI_COMMAND {command!r} is not one of {accepted}")
    missing = [name for name in _NEEDS[command] if not environment.get(name)]
    if missing:
        raise IPAMError(errors.INVALID_ENVIRONMENT, f"{', '.join(missing)} must be set for {command}")
    container, interface = environment.get("CNI_CONTAINERID", ""), environment.get("CNI_IFNAME", "")
    if "CNI_CONTAINERID" in _NEEDS[command] and not is_name(container):
        text = "must begin with a letter or digit, and have letters, digits, '.', '_' and '-' only"
        raise IPAMError(errors.INVALID_ENVIRONMENT, f"CNI_CONTAINERID {container!r} {text}")
    unusable = (
        len(interface.encode()) > 15
        or interface in (".", "..")
        or any(each in "/:" or each.isspace() for each in interface)
    )
    if "CNI_IFNAME" in _NEEDS[command] and unusable:
        text = "must have at most 15 bytes, and neither '/', ':' nor a space"
        raise IPAMError(errors.INVALID_ENVIRONMENT, f"CNI_IFNAME {interface!r} {text}")


def _versions(data: bytes) -> str:
    try:
        asked = decode(data.decode())
    except ValueError:
        asked = None
    version = asked.get("cniVersion") if isinstance(asked, dict) else None
    if not isinstance(version, str):
        version = VERSIONS[-1]
    return encode({"cniVersion": version, "supportedVersions": list(VERSIONS)})


class _Command:
    """One call of the plugin. Methods return what to write to standard output, or raise an error."""

    def __init__(self, environment: Environment, document: Document, results: str) -> None:
        self.document = document
        self.network = Network(document)
        self.args = arguments(environment.get("CNI_ARGS", ""))
        namespace, pod = self.args.get("K8S_POD_NAMESPACE", ""), self.args.get("K8S_POD_NAME", "")
        if not (namespace and pod):
            namespace = pod = ""
        self.who = Attachment(
            environment.get("CNI_CONTAINERID", ""),
            environment.get("CNI_IFNAME", ""),
            namespace,
            pod,
            self.args.get("K8S_POD_UID", "") if pod else "",
        )
        self.now = moment()
        self.results = results

    def _open(self) -> NetworkFile:
        return NetworkFile(self.network.directory, self.network.name, self.now, self.results)

    def _warn(self, file: NetworkFile) -> None:
        for remark in file.remarks:
            print(f"superedge-ipam: {remark}", file=sys.stderr)  # noqa: T201

    def add(self) -> str:
        """Allocate, or find what the pod has."""
        sets = range_sets(self.document)
        requested = requested_addresses(self.document, self.args)
        result = self._result()
        with self._open() as file:
            self._warn(file)
            file.table.expire(self.network.ttl, self.now)
            chosen = file.table.add(self.who, sets, requested, self.network.keep, self.now)
            file.write()
        file.flush()
        result["ips"] = [self._ip(address, each) for address, each in chosen]
        return encode(result)

    def _result(self) -> Document:
        result: Document = {"cniVersion": self.document["cniVersion"]}
        routes = routes_of(self.document)
        if routes:
            result["routes"] = routes
        path = resolv_conf_path(self.document)
        if path:
            found = read(path, links=0)
            if found is None:
                raise IPAMError(errors.IO_FAILURE, f"ipam.resolvConf: there is no file {path}")
            result["dns"] = resolv_conf(found.decode(errors="replace"))
        return result

    def _ip(self, address: str, found: Range) -> Document:
        ip: Document = {"address": f"{address}/{found.length}", "gateway": found.gateway}
        if str(self.document["cniVersion"]) < "1.0.0":
            ip["version"] = str(found.family)
        return ip

    def delete(self) -> str:
        """Reserve what a container had for its pod. A container that is unknown is no error."""
        with self._open() as file:
            self._warn(file)
            record = file.table.attached(self.who.container, self.who.interface)
            if record is not None:
                if not record.pod:
                    # The runtime knows the pod of a container that host-local served.
                    record.namespace, record.pod, record.uid = self.who.namespace, self.who.pod, self.who.uid
                    record.keep = self.network.keep
                file.table.detach(record, self.now)
                file.write(make_room=True)
        file.flush()
        return ""

    def check(self) -> str:
        """Whether the container has the addresses that its last ADD returned."""
        with self._open() as file:
            self._warn(file)
            record = file.table.attached(self.who.container, self.who.interface)
        if record is None:
            text = f"container {self.who.container} has no address on {self.who.interface}"
            raise IPAMError(errors.UNKNOWN_CONTAINER, text)
        previous = self.document.get("prevResult")
        if isinstance(previous, dict):
            said = _addresses(previous)
            missing = [each for each in record.addresses if each not in said]
            if missing:
                text = f"container {self.who.container} has {', '.join(missing)}, which prevResult lacks"
                raise IPAMError(errors.NOT_AS_EXPECTED, text)
        return ""

    def collect(self) -> str:
        """DEL for each attachment that the runtime does not list."""
        valid = valid_attachments(self.document)
        with self._open() as file:
            self._warn(file)
            stale = [
                each
                for each in file.table.records
                if each.container and (each.container, each.interface) not in valid
            ]
            for record in stale:
                file.table.detach(record, self.now)
            if file.table.expire(self.network.ttl, self.now) or stale:
                file.write(make_room=True)
        file.flush()
        return ""

    def status(self) -> str:
        """Whether ADD would work."""
        sets = range_sets(self.document)
        try:
            with self._open() as file:
                self._warn(file)
                table = file.table
                space = posix.statvfs(file.directory)
                if space.f_blocks and not space.f_bfree:
                    text = f"{file.directory} is on a file system without free space"
                    raise IPAMError(errors.NOT_AVAILABLE, text)
        except OSError as problem:
            text = f"{problem.filename or self.network.directory}: {problem.strerror}"
            raise IPAMError(errors.NOT_AVAILABLE, text) from None
        if not table.can_add(sets):
            every = ", ".join(str(each) for ranges in sets for each in ranges)
            raise IPAMError(errors.NOT_AVAILABLE, f"no address is free in {every}")
        return ""


def _addresses(result: Document) -> set[str]:
    """The addresses of a result, without prefix lengths."""
    found = set()
    ips = result.get("ips")
    for each in ips if isinstance(ips, list) else []:
        address = each.get("address") if isinstance(each, dict) else None
        if isinstance(address, str):
            try:
                found.add(canonical(address.partition("/")[0]))
            except ValueError:
                continue
    return found


def _give_up(*_: object) -> None:
    raise IPAMError(errors.TRY_AGAIN, f"the lock or the disk was not available within {_ENOUGH} s")


def main() -> None:
    """The console script `superedge-ipam`, and the single file."""
    environment = {
        key.decode(errors="replace"): value.decode(errors="replace") for key, value in posix.environ.items()
    }
    data = b""
    if "CNI_COMMAND" in environment:
        data = read_all(0)
    signal(SIGALRM, _give_up)
    setitimer(ITIMER_REAL, _ENOUGH)
    code, output = run(environment, data)
    print(output, end="\n" if output else "")  # noqa: T201
    sys.stdout.flush()
    posix._exit(code)


if __name__ == "__main__":
    main()
