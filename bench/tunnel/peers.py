"""Other tunnels, when their programs are on PATH."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from bench.harness import Workbench, console, wait_for_port
from bench.tunnel.site import Path, Target, wait_for_echo
from superedge.testing.ports import free_port


def _chisel(bench: Workbench, target: Target, path: Path) -> int:
    server, door = free_port(), free_port()
    pair = bench.server
    tls = ("--tls-cert", str(pair.certificate), "--tls-key", str(pair.key))
    bench.start("chisel-server", "chisel", "server", "--reverse", "--port", str(server), *tls)
    wait_for_port(server)
    remote = f"R:127.0.0.1:{door}:127.0.0.1:{target.port}"
    ca = ("--tls-ca", str(bench.authority.path))
    bench.start("chisel-client", "chisel", "client", *ca, f"https://localhost:{path.to(server)}", remote)
    return door


def _frp(bench: Workbench, target: Target, path: Path) -> int:
    server, door = free_port(), free_port()
    files = bench.directory / "frps.toml", bench.directory / "frpc.toml"
    files[0].write_text(f'bindAddr = "127.0.0.1"\nbindPort = {server}\n')
    bench.start("frps", "frps", "-c", str(files[0]))
    wait_for_port(server)
    files[1].write_text(
        f'serverAddr = "127.0.0.1"\nserverPort = {path.to(server)}\ntransport.tls.enable = true\n'
        f'[[proxies]]\nname = "door"\ntype = "tcp"\nlocalIP = "127.0.0.1"\n'
        f"localPort = {target.port}\nremotePort = {door}\n"
    )
    bench.start("frpc", "frpc", "-c", str(files[1]))
    return door


_PEERS: list[tuple[str, tuple[str, ...], Callable[[Workbench, Target, Path], int]]] = [
    ("chisel", ("chisel",), _chisel),
    ("frp", ("frps", "frpc"), _frp),
]


def peers(bench: Workbench, target: Target, path: Path) -> list[tuple[str, int]]:
    """(name, port at which the way begins) of each that is there."""
    found = []
    for name, programs, start in _PEERS:
        if any(shutil.which(program) is None for program in programs):
            console.print(f"[dim]{name} is not on PATH: not compared[/]")
            continue
        port = start(bench, target, path)
        wait_for_echo(port)
        found.append((name, port))
    return found
