"""Recipes for base images, from Debian packages only. A leaf: knows nothing of services, instances or VMs.

`build` makes one, `ensure` only if what goes into it has changed; so does `python -m vmrole_images build micro OUT`.
"""

from vmrole_images.builder import NAMES, ImageName, build, ensure, lock_path
from vmrole_images.packages import cache_dir
from vmrole_images.report import BuildError, BuildReport

__all__ = ["NAMES", "BuildError", "BuildReport", "ImageName", "build", "cache_dir", "ensure", "lock_path"]
