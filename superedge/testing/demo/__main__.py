"""``python -m superedge.testing.demo [--keep]``; exit 0 when every step was as promised."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from superedge.errors import SuperEdgeError
from superedge.testing.demo.stage import DemoError, Stage, find_kubectl
from superedge.testing.demo.steps import console, play


def tell_what_to_try(stage: Stage) -> None:
    """How to use what is left running."""
    node = stage.nodes[0]
    console.print("\nIt is left running until Ctrl-C. To try:", soft_wrap=True)
    for line in (
        f"kubectl --kubeconfig={stage.cluster['kubeconfig']} exec web-0 -- echo hello    # by the tunnel",
        f"kubectl --kubeconfig={stage.kubeconfig_of(node)} get pods    # {node.name}'s own API server",
        f"kill -9 {stage.processes['link'].pid}    # cut the link, then read again",
        f"curl http://127.0.0.1:{node.ops}/superedge/status    # what {node.name} knows",
    ):
        console.print(f"  {line}", soft_wrap=True)


def main() -> None:
    """Play the demo."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also write what is printed as an SVG")
    options = parser.parse_args()
    try:
        find_kubectl()
    except DemoError as problem:
        sys.exit(str(problem))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # whichever it is, no process stays
    directory = Path(tempfile.mkdtemp(prefix="superedge-demo-"))
    stage = Stage(directory)
    failed = True
    try:
        play(stage)
        failed = False
        console.print("[bold green]the demo did what it promised[/]")
        if options.picture is not None:
            console.save_svg(str(options.picture), title="make demo")
        if options.keep:
            tell_what_to_try(stage)
            signal.pause()
    except SuperEdgeError as problem:
        console.print(f"[bold red]failed[/] {problem}\nlogs are in {directory}", soft_wrap=True)
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        stage.stop_all()
        if not failed:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
