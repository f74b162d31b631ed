"""A container engine of its own for one cluster.

dockerd from Debian's packages runs in namespaces of its own for mounts, processes and network, so it finds none of the machine's packet filter,
network settings or CNI files to change; when its first process is killed, the kernel removes all it started and mounted.
"""

import errno
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import debian
from .cluster import Cluster
from .steps import Failed, alive, wait_for

SCRIPTS = Path(__file__).resolve().parent
#: Number of the capability in the kernel's masks; an engine that lacks it must not ask runc for it.
CAP_SYS_RESOURCE = 24
START_LIMIT, STOP_LIMIT = 60.0, 20.0


@dataclass(frozen=True)
class Engine:
    """The engine of `cluster`, in the network namespace that the cluster names."""

    cluster: Cluster

    @property
    def folder(self) -> Path:
        return self.cluster.folder / "engine"

    @property
    def data(self) -> Path:
        """Its images and containers."""
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """What the docker client, and kind which calls it, need to talk to this engine and to no other."""
        client = self.folder / "client"
        return os.environ | {
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "DOCKER_CONFIG": str(client),
            "PATH": f"{client}:{os.environ['PATH']}",
        }

    def start(self) -> None:
        """Starts the engine in its network namespace, which is there already, and returns when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        client = self.folder / "client"
        client.mkdir(exist_ok=True)
        (client / "docker").symlink_to(root() / "usr/bin/docker")
        namespaces = ["nsenter", f"--net=/run/netns/{self.cluster.namespace}", "unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
        script = [str(SCRIPTS / "engine.sh"), str(root()), str(self.folder)]
        options = ["--host=unix:///state/docker.sock", "--data-root=/state/data", "--exec-root=/run/docker", "--pidfile=/run/docker.pid",
                   "--storage-driver=overlay2", "--oom-score-adjust=0", f"--cgroup-parent=/{self.cluster.namespace}"]  # fmt: skip
        if lacks_resource_capability():
            options += ["--add-runtime=runc-without-resource=/usr/local/bin/runc-without-resource", "--default-runtime=runc-without-resource"]
        with (self.folder / "log").open("w") as log:
            engine = subprocess.Popen(namespaces + script + options, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        (self.folder / "process").write_text(f"{engine.pid} {started_at(engine.pid)}")
        wait_for(lambda: self.answers() or engine.poll() is not None, "the engine's first answer", START_LIMIT)
        if engine.poll() is not None:
            raise Failed(f"the engine did not start; see {self.folder}/log")

    def answers(self) -> bool:
        command = ["docker", "version", "--format", "{{.Server.Version}}"]
        return (self.folder / "docker.sock").exists() and subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def process(self) -> int | None:
        """The process whose end ends the engine, if it runs. Its start time tells it from a later process of the same number."""
        try:
            pid, start = (self.folder / "process").read_text().split()
            return int(pid) if alive(int(pid)) and started_at(int(pid)) == start else None
        except (OSError, ValueError):
            return None

    def kill(self) -> None:
        """Ends the engine with all its containers at once; its files stay."""
        if pid := self.process():
            within = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not any(alive(process) for process in [pid, *within]), "the end of the engine", STOP_LIMIT)
        remove_control_groups(self.cluster.namespace)


def root() -> Path:
    """The file system the engine runs on, made if it is not in the cache."""
    return debian.root("engine", debian.ENGINE)


def started_at(pid: int) -> str:
    """Clock ticks from the machine's start to that of the process."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19]


def lacks_resource_capability() -> bool:
    masks = re.search(r"^CapBnd:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return masks is not None and not int(masks[1], 16) >> CAP_SYS_RESOURCE & 1


def remove_control_groups(name: str) -> None:
    """Removes the control groups under `name` in every hierarchy, as soon as the processes that were killed have left them."""
    tops = [*Path("/sys/fs/cgroup").glob(f"*/{name}"), Path("/sys/fs/cgroup") / name]
    wait_for(lambda: all(removed(top) for top in tops), f"the removal of the control groups {name}", STOP_LIMIT)


def removed(top: Path) -> bool:
    try:
        for folder, _, _ in os.walk(top, topdown=False):
            os.rmdir(folder)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
