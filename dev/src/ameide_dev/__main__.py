"""The command line: `python -m ameide_dev build | demo | tutorial | up | down | images | acceptance-node`."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from ameide_dev import (
    acceptance_node,
    crds,
    demo_existing,
    demo_release,
    flyway,
    release_images,
    temporal,
    tools,
    tutorial,
)
from ameide_dev import demo as demo_local
from ameide_dev.buildah import BuildError
from ameide_dev.cache import cache_dir
from ameide_dev.client import ApiError, UnavailableError, WaitTimeoutError
from ameide_dev.platform import Platform, PlatformError, existing_kubeconfig
from ameide_dev.processes import ProcessError
from ameide_dev.progress import CommandError

_ERRORS = (
    BuildError,
    CommandError,
    tools.ToolError,
    crds.CrdError,
    ProcessError,
    PlatformError,
    demo_release.ReleaseError,
    flyway.FlywayError,
    temporal.TemporalError,
    ApiError,
    UnavailableError,
    WaitTimeoutError,
)


def _state_file(name: str) -> Path:
    folder = cache_dir() / "run"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.json"


def _running(state: Path) -> int | None:
    """The process id of the platform that `state` speaks of, None when it is gone."""
    try:
        pid = int(json.loads(state.read_text())["pid"])
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if Path("/proc/self").exists() else b"ameide_dev"
    except (OSError, ValueError, KeyError):
        return None
    # The number may have gone to another program meanwhile.
    if b"ameide_dev" not in command:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    return pid


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A real Kubernetes control plane and what belongs around it, on this machine, without containers."""


@main.command()
@click.option("--helm", is_flag=True, help="Build Helm too, which only the chart's tests and deployments need.")
def build(helm: bool) -> None:
    """Build every tool and fetch every CRD that is not in the cache yet."""
    console = Console()
    for name in ("kube", "kwok", "kubectl", "temporal", *(("helm",) if helm else ())):
        console.print(f"{name}: {tools.find(name)}", soft_wrap=True, highlight=False)
    crds.fetch_all()
    console.print(f"CRDs of {', '.join(crds.SOURCES)}", soft_wrap=True, highlight=False)


@main.command()
@click.option("--name", default="default", show_default=True, help="Tells several platforms of one user apart.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Use this cluster (default: $KUBECONFIG, if set).")
@click.option("--new", is_flag=True, help="Start a cluster even if $KUBECONFIG is set.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where data and logs go (default: a temporary one).")
@click.option("--keep", is_flag=True, help="Leave data and logs in place at the end.")
def up(name: str, kubeconfig: Path | None, new: bool, directory: Path | None, keep: bool) -> None:
    """Start a platform and keep it up until Ctrl-C or `down`."""
    console = Console()
    state = _state_file(name)
    if (pid := _running(state)) is not None:
        raise click.ClickException(f"platform {name!r} is already up (process {pid}); use it, or run `down` first")
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    existing = None if new else existing_kubeconfig(kubeconfig)
    began = time.monotonic()
    with Platform(existing=existing, directory=directory.resolve() if directory else None, keep=keep) as platform:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, ask_to_stop)
        state.write_text(json.dumps({"pid": os.getpid(), "kubeconfig": str(platform.kubeconfig)}))
        console.print(f"Ready after {time.monotonic() - began:.1f} s. In another terminal:", highlight=False)
        console.print(f"\n    export KUBECONFIG={platform.kubeconfig}", soft_wrap=True, highlight=False)
        console.print(f"    {tools.find('kubectl')} get nodes\n", soft_wrap=True, highlight=False)
        if existing is None:
            console.print(f"Logs: {platform.control_plane.logs_dir}", soft_wrap=True, highlight=False)
        console.print("Stop it with Ctrl-C.", highlight=False)
        stop.wait()
        console.print("Stopping ...")
    state.unlink(missing_ok=True)


@main.command()
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Use this cluster (default: $KUBECONFIG, if set).")
@click.option("--new", is_flag=True, help="Start a cluster even if $KUBECONFIG is set.")
@click.option(
    "--operator-image", default="", help="On an existing cluster: the image that the chart's Deployment runs."
)
@click.option(
    "--keep", is_flag=True, help="Leave data and logs (in an existing cluster: everything) in place at the end."
)
@click.option("--directory", type=click.Path(path_type=Path, exists=True, file_okay=False), help="For temporary files.")
def demo(kubeconfig: Path | None, new: bool, operator_image: str, keep: bool, directory: Path | None) -> None:
    """Install the chart, apply `examples/` and prove that what they ask for is there.

    On a terminal it stays up until Ctrl-C; elsewhere, and with CI=true, it checks, cleans up and ends.
    """
    existing = None if new else existing_kubeconfig(kubeconfig)
    if existing is not None:
        sys.exit(demo_existing.run(existing, operator_image, folder=directory, keep=keep))
    sys.exit(demo_local.run(folder=directory, keep=keep))


@main.command("tutorial")
@click.option("--directory", type=click.Path(path_type=Path, exists=True, file_okay=False), help="For temporary files.")
def follow_tutorial(directory: Path | None) -> None:
    """Start what docs/tutorial.md begins with, and keep it up until Ctrl-C."""
    tutorial.run(folder=directory)


@main.command()
@click.option("--tag", default="0.0.0-dev", show_default=True, help="Of the images.")
def images(tag: str) -> None:
    """Build the operators' release images with buildah, on base images made by debootstrap. Needs root."""
    console = Console()
    for operator in release_images.OPERATORS:
        image = release_images.build(operator, tag)
        console.print(
            f"{image.name}: {image.total_bytes / 1e6:.1f} MB = base {image.base_bytes / 1e6:.1f} MB"
            f" + operator {image.added_bytes / 1e6:.1f} MB",
            soft_wrap=True,
            highlight=False,
        )
        if faults := release_images.faults(image):
            raise BuildError(f"the image {image.name} is not as it should be: {'; '.join(faults)}")


@main.command("acceptance-node")
@click.option("--check", is_flag=True, help="Only say whether this machine can; exit code 2 and the reason if not.")
@click.option("--keep", is_flag=True, help="Leave the logs in place at the end.")
def accept_on_node(check: bool, keep: bool) -> None:
    """Run the release on a real node of this machine: containerd, kubelet, images, chart, a Domain. Needs root."""
    if check:
        reason = acceptance_node.unable()
        click.echo(reason or "this machine can be a node")
        sys.exit(2 if reason else 0)
    sys.exit(acceptance_node.run(keep=keep))


@main.command()
@click.option("--name", default="default", show_default=True, help="The name given to `up`.")
def down(name: str) -> None:
    """Stop the platform that `up` keeps running, wherever that is."""
    state = _state_file(name)
    pid = _running(state)
    if pid is None:
        state.unlink(missing_ok=True)
        click.echo(f"platform {name!r} is not up")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while _running(state) is not None:
        if time.monotonic() > deadline:
            raise click.ClickException(f"platform {name!r} (process {pid}) did not stop within 30 s")
        time.sleep(0.1)
    click.echo(f"platform {name!r} is down")


if __name__ == "__main__":
    try:
        main()
    except _ERRORS as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)
