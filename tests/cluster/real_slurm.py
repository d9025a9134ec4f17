"""A real Slurm of three nodes on this machine: unprivileged, without munge, up in seconds, gone without a trace."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

# cred_expire is also the delay of a requeue (120 s by default). GraceTime is what a preempted job gets after SIGUSR2.
CONF = """
ClusterName=bellmark
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
SwitchType=switch/none
SlurmdTimeout=20
KillWait=10
ReturnToService=2
MinJobAge=30
MailProg=/bin/true
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17003] CPUs=2 RealMemory=2000
PartitionName=main Nodes=n[1-3] Default=YES MaxTime=60 PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=n[1-3] MaxTime=60 PriorityTier=10
"""


class RealSlurm:
    """Starts, breaks and ends the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Bring up the controller and three nodes; returns when all are idle."""
        (self.folder / "state").mkdir(parents=True)
        values = {"host": socket.gethostname(), "user": getpass.getuser(), "folder": self.folder}
        self.conf.write_text(CONF.format(**values))
        os.environ["SLURM_CONF"] = str(self.conf)
        self._spawn("slurmctld", "slurmctld", "-D", "-c")
        for node in ("n1", "n2", "n3"):
            self.start_node(node)
        self.wait_for(lambda: self.states().count("idle") == 3, 30, "three idle nodes")

    def start_node(self, node: str) -> None:
        """Bring up a node's daemon."""
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._spawn(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """What a power cut does to a node's Slurm: its daemon and the step daemons die at once.

        The jobs' own processes live on, as they do on a node that only lost its daemons.
        """
        daemon = self._daemons.pop(node)
        self._kill(daemon.pid)
        daemon.wait()
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "slurmstepd" and self._belongs(process, f"{self.folder}/slurmd-{node}.log"):
                self._kill(process.pid)

    def stop(self) -> None:
        """End all jobs and daemons."""
        self.run("scancel", "--user", getpass.getuser())
        deadline = time.monotonic() + 15
        while self.run("squeue", "--noheader").strip() and time.monotonic() < deadline:
            time.sleep(0.5)
        for daemon in self._daemons.values():
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "slurmstepd" and self._belongs(process, str(self.folder)):
                self._kill(process.pid)
        for process in psutil.process_iter(["cmdline"]):  # scripts of jobs whose daemons are gone, with their srun
            if any(part.startswith(f"{self.folder}/spool-") for part in process.info["cmdline"] or ()):
                for child in (*process.children(recursive=True), process):
                    self._kill(child.pid)
        os.environ.pop("SLURM_CONF", None)

    def states(self) -> list[str]:
        """The state of each node."""
        return self.run("sinfo", "--noheader", "--Node", "--partition", "main", "--format", "%T").split()

    def run(self, *command: str) -> str:
        """One of Slurm's commands; what it prints."""
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    @staticmethod
    def wait_for(what: object, seconds: float, name: str) -> None:
        """Wait until a condition (a function without arguments) holds."""
        assert callable(what)
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {name}"
            time.sleep(0.3)

    def _spawn(self, name: str, *command: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            self._daemons[name] = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)

    @staticmethod
    def _belongs(process: psutil.Process, path: str) -> bool:
        """Whether a step daemon has a file open whose path begins so; its own node's log always is."""
        try:
            return any(file.path.startswith(path) for file in process.open_files())
        except psutil.Error:
            return False

    @staticmethod
    def _kill(pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
