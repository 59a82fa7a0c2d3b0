"""`make frameworks`: makes the environment of each framework that has none yet; what fails is noted with its reason."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.frameworks.catalogue import AGENTS, ALL_ENVIRONMENTS, ENVIRONMENTS, FAILED, FRAMEWORKS, Environment

PATIENCE_S = 900


def commands(environment: Environment) -> list[list[str]]:
    """What makes an environment, in its folder."""
    folder, packages = str(environment.folder), list(environment.packages)
    if environment.language == "node":
        return [["npm", "install", "--silent", *packages]]
    if environment.language == "go":
        get = ["go", "get", f"{packages[0]}/api@latest"]
        return [["go", "mod", "init", "agent"], get, ["go", "build", "-o", "agent", "."]]
    pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages]
    return [[sys.executable, "-m", "venv", folder], pip]


def install(environment: Environment) -> str:
    """Makes it; why it cannot be made, or nothing."""
    environment.folder.mkdir(parents=True, exist_ok=True)
    for framework in FRAMEWORKS:
        if framework.environment is environment and environment.language != "python":
            program = AGENTS / framework.program
            shutil.copy(program, environment.folder / program.name)
    try:
        for command in commands(environment):
            done = subprocess.run(
                command, cwd=environment.folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
            if done.returncode:
                return (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def main() -> None:
    """Those that are missing, one after the other."""
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    for environment in ALL_ENVIRONMENTS:
        if not environment.problem:
            continue
        print(f"== installing {', '.join(environment.packages)}", flush=True)
        (environment.folder / FAILED).unlink(missing_ok=True)
        if problem := install(environment):
            print(f"   failed: {problem}")
            (environment.folder / FAILED).write_text(problem + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
