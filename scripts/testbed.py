"""Meshes for benchmarks and long runs: agents in network namespaces that vanish with the script.

`enter()` starts the script again inside fresh network, mount and process namespaces; whatever it makes there (namespaces, devices,
processes, files under /run) is removed by the kernel when it ends, also after a kill.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SECRET = "testbed-5mAqPz8sVt3RkYwXc7LbNh2JdGfUe9"
INSIDE = "TUNMESH_TESTBED"


def enter():
    if os.environ.get(INSIDE):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        os.makedirs("/run/netns")
        return
    if os.geteuid() != 0:
        sys.exit(f"{sys.argv[0]}: needs root, to make network namespaces")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    os.environ[INSIDE] = "1"
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvp("unshare", unshare + [sys.executable] + sys.argv)


def sh(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


class NotInTime(SystemExit):
    """Something waited for did not happen; ends a script that does not catch it, with that sentence."""


def wait_for(condition, what, limit=20.0):
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > limit:
            raise NotInTime(f"{sys.argv[0]}: {what} did not happen within {limit} s")
        time.sleep(0.005)
    return time.monotonic() - start


def certificate(folder):
    """Writes a self-signed certificate and its key, cert.pem and key.pem, for all agents whose configuration is in `folder`."""
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tunmesh.local", "-keyout", key, "-out", cert)
    os.chmod(key, 0o644)


def process_cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_resident_mb(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Namespace:
    """A network namespace with an address on the network `10.77.0.0/24`, once it is plugged into something."""

    def __init__(self, name, number):
        self.name, self.number = name, number
        self.underlay, self.overlay = f"10.77.0.{number}", f"192.168.129.{number * 10}"
        sh("ip", "netns", "add", name)
        self.ns("ip", "link", "set", "lo", "up")

    def ns(self, *command, **options):
        return sh("ip", "netns", "exec", self.name, *command, **options)

    def popen(self, *command, **options):
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)

    def remove(self):
        sh("ip", "netns", "del", self.name)

    def reaches(self, other):
        command = ["ip", "netns", "exec", self.name, "ping", "-c", "1", "-W", "1", other.overlay]
        return subprocess.run(command, capture_output=True).returncode == 0

    def plug_into_switch(self):
        sh("ip", "link", "add", f"sw{self.number}", "type", "veth", "peer", "name", "eth0", "netns", self.name)
        sh("ip", "link", "set", f"sw{self.number}", "master", "switch", "up")
        self.address_link()

    def plug_into(self, other):
        sh("ip", "link", "add", "eth0", "netns", self.name, "type", "veth", "peer", "name", "eth0", "netns", other.name)
        self.address_link()
        other.address_link()

    def address_link(self):
        self.ns("ip", "addr", "add", f"{self.underlay}/24", "dev", "eth0")
        self.ns("ip", "link", "set", "eth0", "up")


class Node(Namespace):
    """A namespace with an agent in it."""

    def __init__(self, number, folder, binary, name=None):
        super().__init__(name or f"tm{number}", number)
        self.folder, self.binary = folder, binary
        self.agent = None

    def write_config(self, timing="", extra="", networking=""):
        """Writes the configuration file; the arguments are lines for the groups `process`, `tun_mesh` and `networking`."""
        urls = [] if self.number == 1 else ["https://10.77.0.1:4567"]
        file = self.folder / f"{self.name}.yaml"
        file.write_text(f"""tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups: {{default: {{bootstrap_node_urls: {json.dumps(urls)}}}}}
    control_api_advertise_url: https://{self.underlay}:4567
    auth: {{secret: {SECRET}}}
  control_api:
    ssl: {{cert_file_path: cert.pem, key_file_path: key.pem}}
  monitoring: {{method: prometheus}}
  networking:
    ipv4: {{network_cidr: 192.168.129.0/24, node_address_cidr: {self.overlay}/26}}
{networking}  process:
    uid: 65532
{timing}{extra}""")
        return str(file)

    def start(self, timing="", extra="", networking=""):
        file = self.write_config(timing, extra, networking)
        self.log = open(self.folder / f"{self.name}.log", "a")
        self.agent = self.popen(self.binary, "run", "--config", file, stderr=self.log)

    def stop(self, signal=15):
        self.agent.send_signal(signal)
        self.agent.wait()

    def status(self):
        return json.loads(self.ns(self.binary, "status", "--json"))

    def cpu_seconds(self):
        return process_cpu_seconds(self.agent.pid)

    def resident_mb(self):
        return process_resident_mb(self.agent.pid)


class Testbed:
    def __init__(self, count, binary):
        self.binary = str(Path(binary).resolve())
        self.folder = Path("/run/testbed")
        self.folder.mkdir()
        sh("ip", "link", "add", "switch", "type", "bridge")
        sh("ip", "link", "set", "switch", "up")
        certificate(self.folder)
        self.nodes = [Node(number, self.folder, self.binary) for number in range(1, count + 1)]
        for node in self.nodes:
            node.plug_into_switch()

    def start(self, timing="", extra="", networking=""):
        for node in self.nodes:
            node.start(timing, extra, networking)
        self.wait()

    def wait(self):
        for one in self.nodes:
            for other in self.nodes:
                if one is not other:
                    wait_for(lambda: one.reaches(other), f"a reply from {other.name} to {one.name}")


class IperfServer:
    """An iperf3 server for one test at `address` of the namespace `server`, ended with the block."""

    def __init__(self, server, address):
        self.server, self.address = server, address

    def __enter__(self):
        self.daemon = self.server.popen("iperf3", "-s", "-1", "-B", self.address, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: f"{self.address}:5201" in self.server.ns("ss", "-Hltn"), "iperf3 listening")
        return self

    def __exit__(self, *_):
        self.daemon.terminate()
        self.daemon.wait()


def iperf(client, server, address, *options, seconds=5):
    """Runs iperf3 from `client` to `server` and returns its JSON document; a test that hangs ends with `subprocess.TimeoutExpired`."""
    with IperfServer(server, address):
        return json.loads(client.ns("iperf3", "-J", "-c", address, "-t", str(seconds), *options, timeout=seconds + 20))


def idle_and_total():
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return fields[3] + fields[4], sum(fields[:8])


class IdleCpu:
    """Share of the machine's processors that was idle while the block ran, and the processor seconds that were not."""

    def __enter__(self):
        self.before = idle_and_total()
        return self

    def __exit__(self, *_):
        idle, total = (now - then for now, then in zip(idle_and_total(), self.before))
        self.share = idle / max(total, 1)
        self.busy_seconds = (total - idle) / os.sysconf("SC_CLK_TCK")
