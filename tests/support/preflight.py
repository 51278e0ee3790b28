"""What `make test`, `make bench` and `make torture` need beside Python, looked for before anything is installed.

Run as a script by the system's Python, so it imports the standard library alone. What is missing is said in one sentence each
with its remedy; what depends on it is left out of the run. In CI (`CI=true`) nothing may be left out: it is installed.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SBIN = ("/usr/local/sbin", "/usr/sbin")
"""Where Debian keeps servers, and where only root looks for commands."""
DISK_BYTES = {"test": 4 * 10**9, "bench": 15 * 10**9, "torture": 10 * 10**9}


@dataclass(frozen=True)
class Program:
    """A program that pip does not install."""

    name: str
    package: str
    """Of Debian."""
    used_for: str
    runs: tuple[str, ...] = ("test", "torture")
    required_in_ci: bool = True


PROGRAMS = (
    Program("curl", "curl", "uploads and downloads by curl", ("test", "bench", "torture")),
    Program("openssl", "openssl", "TLS of the client"),
    Program("zsh", "zsh", "completion in zsh"),
    Program("fish", "fish", "completion in fish"),
    Program("pgbouncer", "pgbouncer", "PostgreSQL behind a pool"),
    Program("node", "nodejs", "the official Node package"),
    Program("npm", "npm", "the official Node package"),
    Program("chromium", "chromium", "the console in a browser", ("test",)),
    Program("ip", "iproute2", "a node that is cut off from its servers"),
    Program("strace", "strace", "states that a power failure may leave, and failing system calls of SQLite"),
    Program("nginx", "nginx-light", "the proxy before two nodes, and the reference of the figures", ("test", "bench")),
    Program("wrk", "wrk", "requests per second", ("bench",)),
    Program("docker", "docker.io", "the compose files, read by Docker", ("test",), required_in_ci=False),
    Program("systemd-analyze", "systemd", "the unit, read by systemd", ("test",), required_in_ci=False),
)


def find(name: str, *first: str) -> str | None:
    """The path of an installed program: in the folders `first`, in PATH, or where Debian keeps servers."""
    return shutil.which(name, path=os.pathsep.join([*first, os.environ.get("PATH", os.defpath), *SBIN]))


def missing(run: str) -> list[Program]:
    """The programs that a run uses and the machine lacks."""
    return [program for program in PROGRAMS if run in program.runs and find(program.name) is None]


def install(programs: list[Program]) -> str | None:
    """Install them as CI does; returns what is in the way, if anything."""
    packages = sorted({program.package for program in programs})
    command = f"apt-get install {' '.join(packages)}"
    if find("apt-get") is None or os.geteuid() != 0:
        return (
            f"CI must have {', '.join(program.name for program in programs)}, and only root on Debian can: {command}."
        )
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", *packages]):
        if subprocess.run(["apt-get", *words], env=environment, check=False).returncode != 0:
            return f"CI must have what this installs, and it failed: {command}."
    return None


def obstacles(run: str, *, ci: bool) -> Iterator[str]:
    """Sentences on what makes the run useless from the start."""
    free = shutil.disk_usage(ROOT).free
    if free < DISK_BYTES[run]:
        yield (
            f"make {run} needs {DISK_BYTES[run] / 1e9:.0f} GB of disk and {free / 1e9:.1f} GB are free in {ROOT}: "
            "make room, or clone to another disk."
        )
    if os.geteuid() == 0 and not os.environ.get("FILESTEAD_TEST_POSTGRES") and (fault := _fault_of_nobody()):
        yield (
            f"PostgreSQL does not run as root, and the account nobody cannot run programs in /tmp ({fault}): "
            f"run make {run} as an ordinary user."
        )
    data = os.environ.get("FILESTEAD_CONFORMANCE_DATA", "")
    if ci and run == "test" and not Path(data or "/nowhere").is_dir():
        yield "CI must have the outside data: set FILESTEAD_CONFORMANCE_DATA to its folder."


def _fault_of_nobody() -> str | None:
    """Try what the PostgreSQL server of the tests does when root starts it: run as `nobody`, from a copy in /tmp."""
    with tempfile.TemporaryDirectory(prefix="filestead-preflight-", dir="/tmp") as folder:
        copy = Path(folder) / "true"
        try:
            shutil.copy(find("true") or "/bin/true", copy)
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            os.chown(copy, user.pw_uid, user.pw_gid)
            subprocess.run([copy], cwd="/", user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=True)
        except (OSError, KeyError, subprocess.SubprocessError) as error:
            return str(error)
    return None


def main() -> int:
    """Say what is missing; 1 if the run cannot be of use."""
    run = sys.argv[1]
    ci = os.environ.get("CI") == "true"
    lacking = missing(run)
    faults = list(obstacles(run, ci=ci))
    needed = [program for program in lacking if ci and program.required_in_ci]
    if needed and not faults and (fault := install(needed)):
        faults.append(fault)
    for program in lacking:
        if program not in needed:
            remedy = f"apt-get install {program.package}"
            print(f"{program.name} is missing: {program.used_for} will NOT be tried; {remedy}.", file=sys.stderr)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
