"""The machine sizes of Cloud Services: how many processors and how much memory an instance had. A table.

Source: Microsoft, "How to Configure Virtual Machine Sizes" (2011) and "Sizes for Cloud Services" (2016), whose GB are
of 1024 MB. ExtraSmall shared a processor with others; here it gets one.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model import Size

DEFAULT = "Small"  # of a role that says none

SIZES: Mapping[str, Size] = {
    "ExtraSmall": Size(vcpus=1, memory_mib=768),
    "Small": Size(vcpus=1, memory_mib=1792),
    "Medium": Size(vcpus=2, memory_mib=3584),
    "Large": Size(vcpus=4, memory_mib=7 * 1024),
    "ExtraLarge": Size(vcpus=8, memory_mib=14 * 1024),
    "A5": Size(vcpus=2, memory_mib=14 * 1024),
    "A6": Size(vcpus=4, memory_mib=28 * 1024),
    "A7": Size(vcpus=8, memory_mib=56 * 1024),
    "A8": Size(vcpus=8, memory_mib=56 * 1024),
    "A9": Size(vcpus=16, memory_mib=112 * 1024),
    "A10": Size(vcpus=8, memory_mib=56 * 1024),
    "A11": Size(vcpus=16, memory_mib=112 * 1024),
    "Standard_D1": Size(vcpus=1, memory_mib=3584),
    "Standard_D2": Size(vcpus=2, memory_mib=7 * 1024),
    "Standard_D3": Size(vcpus=4, memory_mib=14 * 1024),
    "Standard_D4": Size(vcpus=8, memory_mib=28 * 1024),
    "Standard_D11": Size(vcpus=2, memory_mib=14 * 1024),
    "Standard_D12": Size(vcpus=4, memory_mib=28 * 1024),
    "Standard_D13": Size(vcpus=8, memory_mib=56 * 1024),
    "Standard_D14": Size(vcpus=16, memory_mib=112 * 1024),
}
