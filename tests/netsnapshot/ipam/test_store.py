"""The files: torn, foreign, absent, on a full disk; and shared with host-local."""

from __future__ import annotations

import json
import os
import resource
from binascii import crc32
from collections.abc import Callable
from pathlib import Path

from superedge.netsnapshot.ipam import hostlocal, networkfile
from superedge.netsnapshot.ipam.files import MAGIC, dump, load
from superedge.netsnapshot.ipam.networkfile import BACKUP, STATE, SYNC
from superedge.netsnapshot.ipam.records import Record
from superedge.netsnapshot.ipam.sharing import share
from tests.netsnapshot.ipam.calls import PluginCase


def host_local(directory: Path, address: str, container: str, interface: str = "eth0") -> None:
    """What host-local writes."""
    directory.mkdir(exist_ok=True)
    (directory / address).write_text(f"{container}\r\n{interface}")
    (directory / "last_reserved_ip.0").write_text(address)


class DamageTests(PluginCase):
    def setUp(self) -> None:
        super().setUp()
        self.add("c1", "a")
        self.add("c2", "b")
        self.call("DEL", "c2", "b")
        self.add("c3")

    def check_everything_is_kept(self) -> None:
        self.assertEqual(self.add("d1", "a"), "10.1.0.2")
        self.assertEqual(self.add("d2", "new"), "10.1.0.5")
        self.assertEqual(self.add("d3", "b"), "10.1.0.3")
        self.assertEqual(self.attempt("ADD", "c3")[1]["code"], 100)

    def test_either_copy_is_enough(self) -> None:
        whole = (self.files / STATE).read_bytes()
        for name in (STATE, BACKUP):
            other = BACKUP if name == STATE else STATE
            for damage in (
                b"",
                whole[:50],
                whole[:-1],
                whole.replace(b"10.1.0.2", b"10.1.0.9"),
                b"\xff" * 99,
                None,
            ):
                (self.files / other).write_bytes(whole)
                if damage is None:
                    (self.files / name).unlink()
                else:
                    (self.files / name).write_bytes(damage)
                found = {(each.pod, each.addresses, each.state) for each in self.store.reservations()}
                expected = {
                    ("a", ("10.1.0.2",), "attached"),
                    ("b", ("10.1.0.3",), "reserved"),
                    ("", ("10.1.0.4",), "attached"),
                }
                self.assertEqual(found, expected)
        self.check_everything_is_kept()

    def test_the_newer_copy_counts(self) -> None:
        old = (self.files / STATE).read_bytes()
        self.add("c4", "d")
        (self.files / STATE).write_bytes(old)
        self.assertEqual(self.add("c5", "d"), "10.1.0.5")
        self.assertEqual(self.add("c6", "e"), "10.1.0.6")

    def test_every_truncation_is_noticed(self) -> None:
        whole = (self.files / STATE).read_bytes()
        load(whole)
        for length in range(len(whole)):
            self.assertRaises(ValueError, load, whole[:length])

    def test_a_file_of_another_version_is_not_guessed_at(self) -> None:
        body = (self.files / STATE).read_bytes().split(b" ", 2)[2]
        body = body.replace(b'"fields":["addresses"', b'"fields":["other"')
        problem = self.assertRaises(ValueError, load, signed(body))
        self.assertEqual(str(problem), "is of another version of superedge-ipam")

    def test_a_file_of_the_first_version_is_read(self) -> None:
        """It has all records in its header, and numbers reservations."""
        fields = ["addresses", "container", "interface", "namespace", "pod", "uid", "since", "boot", "uptime"]
        values = ["eth0", "default"]
        document = {
            "network": "edge",
            "node": networkfile.machine_id(),
            "host_local": 0,
            "last": {"0": "10.1.0.3"},
            "fields": [*fields, "order", "keep"],
            "records": [
                [["10.1.0.3", "fd00::3"], "", *values, "late", "u", 9, "boot", 90, 2, True],
                [["10.1.0.2"], "c1", *values, "a", "u", 1, "", 0, 0, False],
                [["10.1.0.9"], "", *values, "soon", "u", 8, "boot", 80, 1, False],
            ],
        }
        for name in (STATE, BACKUP):
            (self.files / name).write_bytes(
                signed(f"7 {json.dumps(document)}\n".encode(), b"superedge-ipam/1")
            )
        (self.files / "10.1.0.4").unlink()
        for _ in range(2):
            with self.store.open("edge") as file:
                found = [(each.pod, each.state, *each.addresses, each.keep) for each in file.table.records]
                expected = [
                    ("a", "attached", "10.1.0.2", False),
                    ("soon", "reserved", "10.1.0.9", False),
                    ("late", "reserved", "10.1.0.3", "fd00::3", True),
                ]
                self.assertEqual((found, file.remarks), (expected, []))
                file.write()
            file.flush()
        self.assertTrue((self.files / BACKUP).read_bytes().startswith(b"superedge-ipam/2 "))
        self.assertEqual(self.add("c9", "new"), "10.1.0.4")

    def test_a_call_decodes_the_records_that_it_concerns(self) -> None:
        decoded: list[str] = []

        def of_line(line: str, real: Callable[[str], Record] = Record.of_line) -> Record:
            decoded.append(line)
            return real(line)

        self.patch(Record, "of_line", of_line)
        self.assertEqual(self.add("c4", "d"), "10.1.0.5")
        self.assertEqual([each.split(" ")[0] for each in decoded], ["10.1.0.3"])  # the oldest reservation
        self.call("DEL", "c1", "a")
        self.assertEqual([each.split(" ")[0] for each in decoded], ["10.1.0.3", "10.1.0.2"])

    def test_a_file_that_somebody_made_up_is_not_used(self) -> None:
        """A member of the group could write one; an address becomes the name of a file of root's."""
        share(str(self.directory), os.getgid())
        whole = (self.files / BACKUP).read_bytes()
        self.assertIn(b"\nattached 10.1.0.2 [", whole)
        for old, new, part in (
            (b"10.1.0.2 ", b"../../target ", "record"),
            (b"attached 10.1.0.2 ", b"attached ", "record"),
            (b"attached 10.1.0.2 ", b"other 10.1.0.2 ", "record"),
            (b"10.1.0.2 [", b"10.1.0.2 7 [", "record"),
            (b"10.1.0.2 [", b"10.1.0.2 [1,", "record"),
            (b"10.1.0.2 [", b"10.1.0.2 ", "record"),
            (b'"last":', b'"other":', "header"),
        ):
            body = whole.split(b" ", 2)[2].replace(b"1 ", b"9 ", 1).replace(old, new, 1)
            (self.files / STATE).write_bytes(signed(body))
            with self.store.open("edge") as file:
                text = f"has a {part} that superedge-ipam does not write"
                self.assertEqual(file.remarks, [f"{self.files}/state {text}"])
                self.assertEqual(file.table.taken(), {"10.1.0.2", "10.1.0.3", "10.1.0.4"})
        self.check_everything_is_kept()

    def test_without_both_copies_what_is_in_use_stays_taken(self) -> None:
        for name in (STATE, BACKUP):
            (self.files / name).write_bytes(b"torn")
        found = {(each.container, each.addresses) for each in self.store.reservations()}
        self.assertEqual(found, {("c1", ("10.1.0.2",)), ("c3", ("10.1.0.4",))})
        for name in (STATE, BACKUP):
            (self.files / name).unlink()
        self.assertEqual([self.add("d1", "x"), self.add("d2", "y")], ["10.1.0.3", "10.1.0.5"])

    def test_files_of_another_network_are_not_used(self) -> None:
        for name in (STATE, BACKUP):
            (self.files / name).write_bytes(_other_network((self.files / name).read_bytes()))
        with self.store.open("edge") as file:
            self.assertIn(f"{self.files}/state is of the network shop", file.remarks)
            self.assertEqual(file.table.taken(), {"10.1.0.2", "10.1.0.4"})

    def test_files_of_another_node_cost_no_address(self) -> None:
        """Its containers are not here: what they had is reserved, until the time limit."""
        self.patch(networkfile, "machine_id", lambda: "another")
        self.files.joinpath("10.1.0.2").write_text("mine\r\neth0")
        self.files.joinpath("10.1.0.4").unlink()
        with self.store.open("edge") as file:
            self.assertIn(f"{self.files}/state is of another node", file.remarks)
            found = {(each.container, each.pod, *each.addresses) for each in file.table.records}
        self.assertEqual(found, {("mine", "", "10.1.0.2"), ("", "b", "10.1.0.3")})
        self.add("d1", "x")
        with self.store.open("edge") as file:
            self.assertEqual(file.remarks, [])

    def test_a_full_disk_changes_nothing(self) -> None:
        def contents() -> dict[str, bytes]:
            return {each.name: each.read_bytes() for each in self.files.iterdir() if each.suffix != ".new"}

        before = contents()
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        code, answer = self.attempt("ADD", "c9", "new")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        text = f"{self.files}/state.new: File too large"
        self.assertEqual((code, answer["code"], answer["msg"]), (1, 5, text))
        self.assertEqual(contents(), before)
        self.check_everything_is_kept()

    def test_a_shared_directory_stays_shared(self) -> None:
        (self.files / BACKUP).chmod(0o600)
        share(str(self.directory), os.getgid())
        # The files of other pods' addresses are not looked into.
        self.patch(hostlocal, "holder", self.fail)
        self.add("d1", "new")
        self.more["name"] = "later"
        self.add("d2", "other")
        # Nobody but root may put a link in the place of a network.
        self.assertEqual(self.directory.stat().st_mode & 0o7777, 0o2755)
        for network in (self.files, self.directory / "later"):
            self.assertEqual(network.stat().st_mode & 0o7777, 0o2775)
            modes = {path.name: oct(path.stat().st_mode & 0o777) for path in network.iterdir()}
            self.assertEqual(modes, dict.fromkeys(modes, "0o660"))

    def test_links_are_not_followed(self) -> None:
        target = self.directory / "target"
        target.write_text("of somebody else")
        share(str(self.directory), os.getgid())
        target.chmod(0o600)
        for name in (f"{STATE}.new", f"{BACKUP}.new", "address.0.new", SYNC):
            (self.files / name).unlink(missing_ok=True)
            (self.files / name).symlink_to(target)
            failed = int(name != f"{STATE}.new")  # that one is made anew
            self.assertEqual(self.attempt("ADD", f"link-{name}", name.replace(".", "-"))[0], failed)
            (self.files / name).unlink(missing_ok=True)
        self.assertEqual(target.read_text(), "of somebody else")
        self.assertEqual(self.add("d1", "a"), "10.1.0.2")

    def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(self) -> None:
        for name in (STATE, f"{STATE}.new", BACKUP):
            (self.files / name).unlink(missing_ok=True)
            os.mkfifo(self.files / name)
            for _ in range(3):
                self.assertEqual(self.add(f"d-{name}", "a"), "10.1.0.2")
            with self.store.open("edge") as file:
                self.assertEqual((file.damage(), file.remarks), ([], []))
        os.mkfifo(self.files / "address.0.new")
        self.assertEqual(self.attempt("ADD", "d9", "a")[1]["code"], 5)

    def test_release_of_a_pod(self) -> None:
        self.assertEqual([each.pod for each in self.store.release("default", "b", "u")], ["b"])
        self.assertEqual(self.store.release("default", "b"), [])
        self.assertEqual(self.store.release("default", "a"), [])
        (ended,) = self.store.release("default", "a", attached=True)
        self.assertEqual((ended.addresses, ended.network), (("10.1.0.2",), "edge"))
        self.assertFalse((self.files / "10.1.0.2").exists())
        self.assertEqual(json.loads(json.dumps(ended.as_dict()))["pod"], "a")


def signed(body: bytes, magic: bytes = MAGIC.rstrip()) -> bytes:
    """A file with a checksum that matches."""
    return b"%b %08x %b" % (magic, crc32(body), body)


def _other_network(data: bytes) -> bytes:
    contents = load(data)
    contents.network = "shop"
    return dump(contents)


class HostLocalTests(PluginCase):
    def test_allocations_of_host_local_stay_taken_and_are_ended_by_their_container(self) -> None:
        host_local(self.files, "10.1.0.2", "old1")
        host_local(self.files, "10.1.0.3", "old2")
        self.assertEqual(self.store.networks(), [])
        self.assertEqual(self.add("c1", "a"), "10.1.0.4")
        self.call("CHECK", "old1")
        # The runtime says whose sandbox it was.
        self.call("DEL", "old1", "shop")
        self.call("DEL", "old2")
        self.assertEqual([each.name for each in self.files.glob("10.*")], ["10.1.0.4"])
        self.assertEqual(self.add("c2", "shop"), "10.1.0.2")

    def test_results_that_the_runtime_keeps_say_whose_they_are(self) -> None:
        self.results.mkdir()
        args = [["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "shop"], ["K8S_POD_UID", "u"]]
        (self.results / "edge-old1-eth0").write_text(json.dumps({"cniArgs": args}))
        (self.results / "edge-old2-eth0").write_text("{")
        self.ipam["ranges"].append([{"subnet": "fd00::/64"}])
        host_local(self.files, "10.1.0.2", "old1")
        host_local(self.files, "fd00::2", "old1")
        host_local(self.files, "10.1.0.3", "old2")
        # After a reboot, without DEL.
        self.assertEqual(self.add("new", "shop"), "10.1.0.2 fd00::2")
        self.assertEqual(self.add("other", "b"), "10.1.0.4 fd00::3")

    def test_files_that_host_local_would_have_written(self) -> None:
        self.ipam["ranges"].append([{"subnet": "fd00::/64"}])
        self.add("c1", "a")
        for name in ("10.1.0.2", "fd00::2"):
            self.assertEqual((self.files / name).read_bytes(), b"c1\r\neth0")
        self.add("c2", "a")
        self.assertEqual((self.files / "10.1.0.2").read_bytes(), b"c2\r\neth0")
        self.call("DEL", "c2", "a")
        self.assertEqual([*self.files.glob("10.*"), *self.files.glob("fd*")], [])

    def test_what_host_local_did_meanwhile_counts(self) -> None:
        self.results.mkdir()
        for number in range(3):
            self.add(f"c{number}", f"p{number}")
            (self.results / f"edge-c{number}-eth0").write_text("{}")
        # host-local is in charge: c0 ends and n0 has its address, c1 ends, n1 is new.
        (self.results / "edge-c0-eth0").unlink()
        (self.results / "edge-c1-eth0").unlink()
        (self.files / "10.1.0.3").unlink()
        (self.files / "10.1.0.4").unlink()  # the runtime still has c2
        host_local(self.files, "10.1.0.2", "n0")
        host_local(self.files, "10.1.0.9", "n1")
        found = {(each.container, each.pod, *each.addresses) for each in self.store.reservations()}
        expected = {
            ("n0", "", "10.1.0.2"),
            ("", "p1", "10.1.0.3"),
            ("c2", "p2", "10.1.0.4"),
            ("n1", "", "10.1.0.9"),
        }
        self.assertEqual(found, expected)
        self.assertEqual(self.add("c3", "p3"), "10.1.0.10")
        # host-local ends one more, and allocates nothing.
        (self.files / "10.1.0.9").unlink()
        attached = {each.container for each in self.store.reservations()}
        self.assertEqual(attached, {"n0", "", "c2", "c3"})

    def test_a_deleted_file_frees_no_address(self) -> None:
        self.add("c1", "a")
        self.results.mkdir()
        (self.results / "edge-c1-eth0").write_text("{}")
        (self.files / "10.1.0.2").unlink()
        self.assertEqual(self.add("c2", "b"), "10.1.0.3")
        self.assertEqual((self.files / "10.1.0.2").read_bytes(), b"c1\r\neth0")

    def test_other_files_are_left_alone(self) -> None:
        self.files.mkdir()
        others = {"cafe", "10.1.0.300", "fd00:0::1", "notes"}
        for name in others:
            (self.files / name).write_text("x")
        (self.files / "10.1.0.9").write_text("")  # host-local was killed as it made it
        self.add("c1", "a")
        self.assertEqual({path.name for path in self.files.iterdir()} & others, others)
        self.assertEqual([each.addresses for each in self.store.reservations()], [("10.1.0.2",)])
        self.assertFalse((self.files / "10.1.0.9").exists())
