"""Many faults one after the other, at random, and what clients hold after each is what is true.

`SUPEREDGE_SOAK_SECONDS` is how long it goes on. The seed is printed; `SUPEREDGE_SOAK_SEED` takes it again.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from superedge.testing.contracts.client import MERGE_PATCH
from tests.cluster.environment import Environment, wait_until
from tests.cluster.informers import CONFIGMAPS, FOLLOWED, InformerCase, Informers
from tests.cluster.lite import NAME, LiteAPIServer
from tests.faults.link import FaultyLink

SECONDS = float(os.environ.get("SUPEREDGE_SOAK_SECONDS", "40"))
SEED = int(os.environ.get("SUPEREDGE_SOAK_SEED", "0")) or Random().randrange(1, 1 << 30)
# What a healthy process never logs, whatever happens around it.
_WRONG = re.compile(r"^\S+ (error|critical) |Unhandled|Traceback", re.MULTILINE)


class SoakTests(InformerCase):
    """A real API server, a link that fails in every way, lite-apiserver, client-go's informers."""

    link: FaultyLink

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        environment.cluster.up()
        cls.link = FaultyLink(environment.cluster.port)
        environment.last.append(cls.link.close)
        cls.begin(environment, LiteAPIServer(environment, upstream=cls.link.port))

    # -- faults; each leaves everything running

    def silence(self) -> None:
        """What is connected hears nothing any more; new connections work."""
        self.link.silence()

    def reset(self) -> None:
        self.link.reset()

    def corrupt(self) -> None:
        self.link.corrupt()

    def lead_nowhere(self) -> None:
        """Of new connections some lead nowhere for a while."""
        self.link.ignore(0.4)
        self.link.reset()
        time.sleep(self.random.uniform(4, 12))
        self.link.ignore(0.0)

    def kill_the_api_server(self) -> None:
        cluster = self.environment.cluster
        cluster.stop("kube-apiserver", signal.SIGKILL)
        time.sleep(self.random.uniform(0, 4))
        cluster.start("kube-apiserver")
        cluster.wait_until_ready()

    def stop_the_api_server_for_a_while(self) -> None:
        process = self.environment.cluster.state["components"]["kube-apiserver"]["pid"]
        self.pause(process)

    def stop_lite_apiserver_for_a_while(self) -> None:
        self.pause(self.lite.process)

    def kill_lite_apiserver(self) -> None:
        self.lite.crash()
        self.lite.start()

    def pause(self, process: int) -> None:
        os.kill(process, signal.SIGSTOP)
        time.sleep(self.random.uniform(0, 6))
        os.kill(process, signal.SIGCONT)

    # -- what is true after each

    def change_something(self) -> None:
        for number in self.random.sample(range(10), 5):
            path = f"{CONFIGMAPS}/cm-{number}"
            if self.random.random() < 0.3:
                self.direct.call("DELETE", path)
                continue
            body = {"data": {"data": str(self.random.random())}}
            if self.direct.call("PATCH", path, body, content_type=MERGE_PATCH).status == 404:
                self.make(CONFIGMAPS, self.configmap(f"cm-{number}"))

    def test_faults(self) -> None:
        self.random = Random(SEED)
        faults: list[Callable[[], None]] = [
            self.silence,
            self.reset,
            self.corrupt,
            self.lead_nowhere,
            self.kill_the_api_server,
            self.stop_the_api_server_for_a_while,
            self.stop_lite_apiserver_for_a_while,
            self.kill_lite_apiserver,
        ]
        clients = [self.informers(watch_list) for watch_list in (False, True)]
        for informers in clients:
            for name, (what, _, _) in FOLLOWED.items():
                informers.ask(f"follow {name} {what}")
        self.change_something()
        self.agree(clients)
        done: list[str] = []
        end = time.monotonic() + SECONDS
        sys.stdout.write(f"[seed {SEED}] ")
        while time.monotonic() < end:
            fault = self.random.choice(faults)
            done.append(fault.__name__)
            fault()
            self.change_something()
            try:
                wait_until(lambda: self.lite.state == "online", "the cloud is back", 60)
                self.agree(clients)
            except AssertionError as problem:
                raise AssertionError(f"seed {SEED}, after {done}: {problem}") from None
        log = (self.environment.directory / f"{NAME}.log").read_text()
        self.assertEqual(_WRONG.findall(log), [], log[-3000:])
        sys.stdout.write(f"[{len(done)} faults, {self.resident()} MiB, {self.descriptors()} descriptors] ")

    def agree(self, clients: list[Informers]) -> None:
        truths = self.truths(FOLLOWED)
        for informers in clients:
            self.check(informers, list(FOLLOWED), truths)

    def resident(self) -> int:
        status = Path(f"/proc/{self.lite.process}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.lite.process}/fd"))
