"""Tunnels between two network namespaces of their own: how each of them starts, and which processes carry its packets."""

import itertools
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.programs import last_line
from testbed import Namespace, Node, NotInTime, certificate, process_cpu_seconds, process_resident_mb, wait_for

#: Contenders that are our agent: what each has under `networking.data_plane`, and the path and suite its status must then name. The agent
#: falls back to v0 where the path is not to be had; figures of that must not stand under another name.
AGENT_DATA_PLANES = {
    "native": ("{paths: [udp], suite: aegis}", ("udp", "aegis")),
    "wireguard-suite": ("{paths: [udp], suite: chachapoly}", ("udp", "chachapoly")),
    "tls-stream": ("{paths: [stream]}", ("stream", None)),
    "v0": ("{paths: [v0]}", ("v0", None)),
}
#: What the status of the agent names as path and suite to its only peer.
Way = tuple[str, str | None]
#: Inner MTU of all tunnels but the agent's, which chooses its own: what WireGuard leaves of 1,500 bytes.
MTU = "1420"
FOLDER = Path("/run/bench")
PORT = "51820"


@dataclass
class Pair:
    """Two namespaces, the address traffic from `one` to `other` goes to, and the processes of the tunnel between them, if any."""

    one: Namespace
    other: Namespace
    address: str
    processes: list[subprocess.Popen] = field(default_factory=list)
    way: Way | None = None

    def cpu_seconds(self) -> float:
        return sum(process_cpu_seconds(process.pid) for process in self.processes)

    def resident_mb(self) -> list[float]:
        return [process_resident_mb(process.pid) for process in self.processes]

    def strayed(self) -> str:
        """How the packets travel, where they should have another way; empty if all is well."""
        ways = [way_of(end) for end in (self.one, self.other)] if self.way else []
        return next((f"packets travel by {way}, not {self.way}" for way in ways if way != self.way), "")

    def remove(self) -> None:
        """Ends the processes, each by its handle, and removes the namespaces."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        for namespace in (self.one, self.other):
            namespace.remove()


#: Puts two namespaces, with nothing in them yet, on one network.
Link = Callable[[Namespace, Namespace], None]


class NotStarted(Exception):
    """A contender does not work on this machine or with this binary; says why."""


@dataclass(frozen=True)
class Contender:
    """`programs` names what must be there; `start` gets the contender's name, the link between its ends, and the paths of them."""

    programs: tuple[str, ...]
    start: Callable[..., Pair]


def bare_pair(name: str, link: Link) -> Pair:
    one, other = (Namespace(f"{name}-{number}", number) for number in (1, 2))
    link(one, other)
    return Pair(one, other, other.overlay)


def plain(name: str, link: Link) -> Pair:
    pair = bare_pair(name, link)
    pair.address = pair.other.underlay
    return pair


def agents(name: str, link: Link, binary: str) -> Pair:
    one, other = (Node(number, FOLDER, binary, f"{name}-{number}") for number in (1, 2))
    link(one, other)
    pair = Pair(one, other, other.overlay)
    configured, pair.way = AGENT_DATA_PLANES[name]
    networking = f"    data_plane: {configured}\n"
    if refusal := config_refusal(one, networking):
        if name != "v0":
            pair.remove()
            raise NotStarted(f"the agent refuses its configuration: {refusal}")
        # A binary that has no other data plane has no key to choose one either.
        networking = ""
    for node in (one, other):
        node.start(networking=networking)
        pair.processes.append(node.agent)
    await_tunnel(name, pair)
    try:
        # Both carry the first packets by v0, and change over when the better path is proven.
        wait_for(lambda: not pair.strayed(), "the configured path", limit=5)
    except NotInTime as late:
        reason = pair.strayed()
        pair.remove()
        raise NotStarted(reason or "it changes its path to and fro") from late
    return pair


def way_of(end: Node) -> Way:
    try:
        peers = end.status()["peers"]
    except (subprocess.SubprocessError, ValueError):
        return ("no answer", None)
    return (peers[0]["path"], peers[0].get("suite")) if peers else ("none", None)


def config_refusal(node: Node, networking: str) -> str:
    """What the agent has against that configuration; empty if it takes it."""
    file = node.write_config(networking=networking)
    check = subprocess.run([node.binary, "config", "check", file], capture_output=True, text=True)
    text = check.stdout + check.stderr
    return "" if check.returncode == 0 else next((line.strip() for line in text.splitlines() if "data_plane" in line), last_line(text))


device_numbers = itertools.count(1)


def wireguard(command: list[str], name: str, link: Link, program: str, wg: str) -> Pair:
    """A WireGuard program, started as `program command.. DEVICE` and then set up over its socket."""
    pair = bare_pair(name, link)
    ends = (pair.one, pair.other)
    # The sockets of all namespaces share a folder, so every device has a name of its own.
    devices = [f"wgb{next(device_numbers)}" for _ in ends]
    private = [subprocess.run([wg, "genkey"], check=True, capture_output=True, text=True).stdout for _ in ends]
    public = [subprocess.run([wg, "pubkey"], check=True, capture_output=True, text=True, input=key).stdout.strip() for key in private]
    for end, device in zip(ends, devices):
        pair.processes.append(logged(end, name, program, *command, device))
        await_alive(name, pair, lambda: Path(f"/run/wireguard/{device}.sock").exists(), "its control socket")
    for index, (end, device) in enumerate(zip(ends, devices)):
        peer = ends[1 - index]
        secret = FOLDER / f"{device}.key"
        secret.write_text(private[index])
        end.ns(wg, "set", device, "private-key", str(secret), "listen-port", PORT)
        end.ns(wg, "set", device, "peer", public[1 - index], "allowed-ips", f"{peer.overlay}/32", "endpoint", f"{peer.underlay}:{PORT}")
        address_device(end, device)
    await_tunnel(name, pair)
    return pair


def ceiling(cipher: str, name: str, link: Link, program: str) -> Pair:
    """A prototype without handshake or replay window: what the way of moving packets allows at best."""
    pair = bare_pair(name, link)
    for end, peer in ((pair.one, pair.other), (pair.other, pair.one)):
        options = ["--io", "gso", "--cipher", cipher, "--csum", "partial", "--dev", "pt", "--port", PORT]
        pair.processes.append(logged(end, name, program, *options, "--local", end.underlay, "--peer", peer.underlay))
        await_alive(name, pair, lambda: "pt:" in end.ns("ip", "-o", "link"), "its device")
        address_device(end, "pt")
    await_tunnel(name, pair)
    return pair


def address_device(end: Namespace, device: str) -> None:
    end.ns("ip", "addr", "add", f"{end.overlay}/24", "dev", device)
    end.ns("ip", "link", "set", device, "mtu", MTU, "up")


def logged(end: Namespace, name: str, *command: str) -> subprocess.Popen:
    with open(log_file(name), "a") as log:
        return end.popen(*command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def log_file(name: str) -> Path:
    return FOLDER / f"{name}.log"


def await_alive(name: str, pair: Pair, condition: Callable[[], bool], what: str) -> None:
    """Waits for `condition`; a process that ended instead is an error with the last line of its log."""

    def happened() -> bool:
        if any(process.poll() is not None for process in pair.processes):
            logs = sorted(FOLDER.glob(f"{name}*.log"))
            raise NotStarted(f"ended: {last_line(logs[-1].read_text())}" if logs else "ended")
        return condition()

    try:
        wait_for(happened, f"{what} of {name}")
    except BaseException:
        pair.remove()
        raise


def await_tunnel(name: str, pair: Pair) -> None:
    await_alive(name, pair, lambda: pair.one.reaches(pair.other) and pair.other.reaches(pair.one), "a reply through the tunnel")


def start(name: str, programs: list[str], link: Link = Namespace.plug_into) -> Pair:
    if not FOLDER.exists():
        FOLDER.mkdir()
        certificate(FOLDER)
    return CONTENDERS[name].start(name, link, *programs)


def wireguard_contender(program: str, *command: str) -> Contender:
    return Contender((program, "wireguard-tools"), lambda *arguments: wireguard(list(command), *arguments))


#: In the order they are measured and printed.
CONTENDERS = {
    "veth": Contender((), plain),
    "native": Contender(("agent",), agents),
    "wireguard-suite": Contender(("agent",), agents),
    "tls-stream": Contender(("agent",), agents),
    "v0": Contender(("agent",), agents),
    "wireguard-go": wireguard_contender("wireguard-go", "-f"),
    "wireguard-go-current": wireguard_contender("wireguard-go-current", "-f"),
    "boringtun": wireguard_contender("boringtun", "--foreground", "--disable-drop-privileges"),
    "gotatun": wireguard_contender("gotatun", "--foreground", "--disable-drop-privileges"),
    "ceiling": Contender(("ceiling",), lambda *arguments: ceiling("none", *arguments)),
    "ceiling-aes": Contender(("ceiling",), lambda *arguments: ceiling("aes128", *arguments)),
}
