"""Packages of the distribution for machines that tests make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.bundle.packages import own_suites, package_archive, told


def download_packages(
    names: Iterable[str],
    architecture: str,
    folder: Path,
    *,
    suite: str | None = None,
    dependencies: bool = False,
    components: Sequence[str] = ("main",),
    progress: Progress = SILENT,
) -> list[Path]:
    """The .deb files of packages, in `folder`; with all that they need where `dependencies` is set.

    `suite` is preferred to those of this machine's release. Raises DeviceError.
    """
    suites = [] if suite is None else [suite, *own_suites(components)]
    with package_archive(
        architecture, folder, suites=suites, components=components, progress=progress
    ) as archive:
        packages = archive.with_dependencies(names) if dependencies else archive.show(names)
        progress.step(f"Downloading {told(packages)}")
        return archive.download([package.name for package in packages], folder)
