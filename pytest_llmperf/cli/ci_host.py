"""Which CI system a repository is for, and what its default branch is."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_llmperf.programs import git

FILES_OF = {"github": (".github",), "gitlab": (".gitlab-ci.yml", ".gitlab")}
"""Files and folders at the repository's top that tell a host."""

_USUAL_BRANCHES = ("main", "master")


def host_of(top: Path) -> tuple[str, str]:
    """`github`, `gitlab` or an empty text; and the reason.

    Args:
        top: the top folder of the repository.
    """
    for remote in _remotes(top):
        server = server_of(git(top, "remote", "get-url", remote) or "")
        for host in FILES_OF:
            if host in server:
                return host, f"the remote {remote} is on {server}"
    hosts = {host: name for host, names in FILES_OF.items() for name in reversed(names) if (top / name).exists()}
    if len(hosts) == 1:
        ((host, name),) = hosts.items()
        return host, f"{name} exists"
    if hosts:
        return "", f"{' and '.join(hosts.values())} exist"
    return "", "neither a remote nor a file of the repository tells the host"


def default_branch(top: Path) -> str:
    """The remote's default branch, else `main` or `master`, else the branch that is checked out."""
    if remote := git(top, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"):
        return remote.partition("/")[2]
    refs = [f"{place}/{name}" for name in _USUAL_BRANCHES for place in ("refs/remotes/origin", "refs/heads")]
    known = (git(top, "for-each-ref", "--format=%(refname)", *refs) or "").splitlines()
    usual = next((ref.rpartition("/")[2] for ref in refs if ref in known), "")
    return usual or git(top, "symbolic-ref", "--quiet", "--short", "HEAD") or _USUAL_BRANCHES[0]


def server_of(address: str) -> str:
    """The server in a remote's address, without user, password and port; empty for a path of this machine.

    >>> server_of("git@github.com:team/agents.git"), server_of("https://me:pw@gitlab.example.org:8443/team/agents")
    ('github.com', 'gitlab.example.org')
    >>> server_of("/srv/github/agents"), server_of("../gitlab/agents"), server_of("file:///srv/github/agents")
    ('', '', '')
    """
    match = re.match(r"(?:(?!file:)[\w+.-]+://(?:[^/]*@)?([^/:@]+)|(?:[^/:@]+@)?([^/:@]+):(?!//))", address)
    return ((match[1] or match[2]) if match else "").lower()


def _remotes(top: Path) -> list[str]:
    """The names of the remotes, `origin` first."""
    return sorted((git(top, "remote") or "").splitlines(), key=lambda name: (name != "origin", name))
