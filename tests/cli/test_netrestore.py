"""`superedge netrestore`: what it restores is chosen, said, and given an exit code."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli import netrestore
from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.errors import ConfigError
from superedge.netsnapshot import restore
from superedge.netsnapshot.directory import write_snapshot
from superedge.netsnapshot.document import Snapshot, encode_snapshot
from superedge.netsnapshot.plan import Plan
from superedge.netsnapshot.restore import Outcome, wanted_files
from tests.netsnapshot.examples import ENTRY, FLANNEL, SUBNET_ENV, snapshot


class NetRestoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        parent = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, parent)
        self.directory = parent / "network"
        self.config = parent / "edge.toml"
        self.config.write_text('[network_snapshot]\ndirectory = "network"\nnode = "edge-3"\n')
        self.calls: list[tuple[Snapshot, bool, bool]] = []
        self.outcome = Outcome(Plan(create=[FLANNEL], fdb=[ENTRY], there=3, left=["route x is there"]))
        self.patch(netrestore, "read_boot_id", lambda: "now")
        self.patch(netrestore, "restore", self.restore)
        self.patch(netrestore, "CONFIG", parent / "none.toml")

    def restore(
        self, config: NetworkSnapshotConfig, found: Snapshot, dry_run: bool, rebooted: bool
    ) -> Outcome:
        self.calls.append((found, dry_run, rebooted))
        return self.outcome

    def write(self, **changes: Any) -> None:
        write_snapshot(self.directory, encode_snapshot(snapshot(**changes)))

    def run_it(self, *options: str) -> Result:
        return CliRunner().invoke(netrestore.netrestore, ["--config", str(self.config), *options])

    def test_a_restore(self) -> None:
        self.write()
        done = self.run_it()
        self.assertEqual((done.exit_code, done.stderr), (0, ""), done.output)
        self.assertEqual(self.calls, [(snapshot(), False, True)])
        lines = done.stdout.splitlines()
        self.assertIn("bridge fdb append 4e:00:00:00:00:04 dev flannel.1 dst 192.0.2.4 self", lines)
        self.assertEqual(lines[-2], "left as it is: route x is there")
        said = f"{self.directory}/snapshot-1.json: 2 put back, 3 there already, 1 left, 0 failed in "
        self.assertTrue(lines[-1].startswith(said), lines[-1])

    def test_what_fails_is_told(self) -> None:
        self.write()
        self.outcome.failed.append("device flannel.1: there is no device eth0")
        done = self.run_it()
        self.assertEqual((done.exit_code, done.stderr), (1, "device flannel.1: there is no device eth0\n"))
        self.assertIn("1 put back, 3 there already, 1 left, 1 failed", done.stdout)
        self.outcome = Outcome(Plan(there=3), faults=["/run/x cannot be read: Permission denied"])
        done = self.run_it()
        self.assertEqual((done.exit_code, done.stderr), (1, "/run/x cannot be read: Permission denied\n"))
        self.assertIn("0 put back, 3 there already, 0 left, 1 failed", done.stdout)

    def test_what_an_agent_made_at_the_same_time_is_told(self) -> None:
        self.write()
        self.outcome.overtaken.append("route 10.9.0.0/16 was made at the same time")
        done = self.run_it("--wait", "30")
        self.assertEqual((done.exit_code, done.stderr), (0, ""))
        self.assertIn("left as it is: route 10.9.0.0/16 was made at the same time\n", done.stdout)
        self.assertIn("1 put back, 3 there already, 2 left, 0 failed", done.stdout)

    def test_a_dry_run(self) -> None:
        self.write()
        done = self.run_it("--dry-run")
        self.assertEqual((done.exit_code, self.calls[0][1]), (0, True))
        self.assertIn("2 to put back", done.stdout)

    def test_no_reboot(self) -> None:
        self.write(boot_id="now")
        done = self.run_it()
        self.assertEqual((done.exit_code, self.calls), (0, []))
        self.assertIn("nothing is restored: ", done.stdout)
        self.assertIn("the node has not rebooted since", done.stdout)
        self.assertEqual(self.run_it("--force").exit_code, 0)
        self.assertEqual(self.calls, [(snapshot(boot_id="now"), False, False)])

    def test_what_could_not_be_put_back_is_tried_again_without_force(self) -> None:
        """The edge process has taken snapshots meanwhile, without what was not put back."""
        self.write(time=1.0)
        self.outcome.failed.append("device flannel.1: there is no device eth0")
        for _ in range(2):
            self.assertEqual(self.run_it().exit_code, 1)
            for _ in range(3):
                self.write(boot_id="now")
        self.outcome.failed.clear()
        self.assertEqual(self.run_it("--dry-run").exit_code, 0)
        done = self.run_it()
        self.assertEqual((done.exit_code, done.stderr), (0, ""))
        self.assertIn(f"{self.directory}/snapshot-1.json: ", done.stdout)
        # When pods may run, superedge-ipam's state is not put back.
        again = [(snapshot(time=1.0), dry, False) for dry in (False, True, False)]
        self.assertEqual(self.calls, [(snapshot(time=1.0), False, True), *again])
        self.assertIn("the node has not rebooted since", self.run_it().stdout)
        self.write(boot_id="now")
        self.assertEqual(sorted(each.name for each in self.directory.iterdir())[0], "snapshot-6.json")

    def test_a_restore_that_was_killed_is_tried_again(self) -> None:
        def killed(*_: object) -> Outcome:
            raise SystemExit(9)

        self.write()
        self.patch(netrestore, "restore", killed)
        self.assertEqual(self.run_it().exit_code, 9)
        self.patch(netrestore, "restore", self.restore)
        self.write(boot_id="now")
        self.assertEqual(self.run_it().exit_code, 0)
        self.assertEqual([each for each, _, _ in self.calls], [snapshot()])

    def test_the_next_boot_puts_back_both_and_then_gives_up(self) -> None:
        self.write(time=1.0)
        self.outcome.failed.append("device flannel.1: there is no device eth0")
        self.run_it()
        self.write(boot_id="now", time=2.0)
        self.calls.clear()
        for boot_id, times in (("later", [2.0, 1.0]), ("last", [2.0])):
            self.patch(netrestore, "read_boot_id", lambda boot_id=boot_id: boot_id)
            self.assertEqual(self.run_it().exit_code, 1)
            self.assertEqual([each.time for each, _, _ in self.calls], times)
            self.calls.clear()

    def test_a_directory_that_cannot_be_written(self) -> None:
        self.write()
        (self.directory / ".unfinished.new").symlink_to(self.config)
        done = self.run_it()
        self.assertEqual((done.exit_code, len(self.calls)), (0, 1))
        self.assertIn("another run may not finish this one: ", done.stderr)

    def test_no_snapshot(self) -> None:
        done = self.run_it()
        said = f"{self.directory}: nothing is restored: there is no snapshot\n"
        self.assertEqual((done.exit_code, done.stdout, done.stderr), (3, "", said))

    def test_none_that_can_be_used(self) -> None:
        self.write(node="edge-4")
        done = self.run_it()
        self.assertEqual((done.exit_code, self.calls), (1, []))
        self.assertEqual(len(done.stderr.splitlines()), 2)
        self.write(pod_cidrs=("10.244.9.0/24",))
        self.assertEqual(self.run_it("--pod-cidr", "10.244.3.0/24").exit_code, 1)
        self.assertEqual(self.run_it("--pod-cidr", "10.244.9.0/24").exit_code, 0)

    def test_options(self) -> None:
        found = netrestore.settings(None, Path("/x"), "edge-9", ("10.1.0.0/16",))
        self.assertEqual(
            (found.directory, found.node, found.pod_cidrs), (Path("/x"), "edge-9", ["10.1.0.0/16"])
        )
        self.assertEqual(netrestore.settings(self.config, None, "", ()).node, "edge-3")
        self.assertEqual(self.run_it("--pod-cidr", "10.1.0.1/16").exit_code, 2)
        self.config.write_text("[ops]\n")
        problem = self.assertRaises(ConfigError, netrestore.settings, self.config, None, "", ())
        self.assertIn("network_snapshot: is not there", str(problem))

    def test_root_writes_those_files_only_that_the_configuration_names(self) -> None:
        """Whoever may write a snapshot chooses no paths."""
        files = {SUBNET_ENV: "a", "/etc/passwd": "b", "/run/flannel/../../etc/shadow": "c"}
        found = snapshot(files=files, ipam={"edge": "d", "../../etc": "e", "..": "f", ".": "g", "": "h"})
        config = NetworkSnapshotConfig()
        self.assertEqual(
            wanted_files(config, found), {SUBNET_ENV: "a", "/var/lib/cni/networks/edge/state": "d"}
        )

    def outcome_of(self, path: Path) -> Outcome:
        return Outcome(Plan(files={str(path): "x\n"}))

    def test_a_file_is_written_whole_and_not_through_a_link(self) -> None:
        path = self.directory / "run" / "subnet.env"
        restore._write_files(self.outcome_of(path))
        self.assertEqual([each.name for each in path.parent.iterdir()], ["subnet.env"])
        (path.parent / "other.env.new").symlink_to(self.config)
        outcome = self.outcome_of(path.parent / "other.env")
        restore._write_files(outcome)
        (said,) = outcome.failed
        self.assertIn("cannot be written", said)
        self.assertIn("edge-3", self.config.read_text())
