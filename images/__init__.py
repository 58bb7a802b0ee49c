"""Recipes for base images, from Debian packages only. A leaf: knows nothing of services, instances or VMs.

`build` makes one, `ensure` only if what goes into it has changed; `python -m images build micro OUT` works too.
"""

from images.builder import NAMES, ImageName, build, ensure, lock_path
from images.packages import cache_dir
from images.report import BuildError, BuildReport

__all__ = ["NAMES", "BuildError", "BuildReport", "ImageName", "build", "cache_dir", "ensure", "lock_path"]
