"""Service definitions and configurations to import, and the images that they are imported onto."""

from __future__ import annotations

from orchestrator import servicefile
from orchestrator.model import AnswerFormat, DiskFormat, Image, Os, ServiceSpec
from orchestrator.servicefile.azure.definition import Element, Schema, read
from orchestrator.servicefile.azure.translate import Imported, translate
from orchestrator.servicefile.azure.wishes import Wishes
from tests.world.places import GOLDEN_FILES

GOLDEN = GOLDEN_FILES / "azure"
CSDEF = (GOLDEN / "orders.csdef").read_text()
CSCFG = (GOLDEN / "orders.cscfg").read_text()
SMALL_CSDEF = f"""<ServiceDefinition name="shop" xmlns="{Schema.DEFINITION.namespace}">
  <VirtualMachineRole name="web" vmsize="Small">
    <Endpoints>
      <InputEndpoint name="http" protocol="http" port="80" localPort="8080" />
    </Endpoints>
    <LocalResources>
      <LocalStorage name="cache" sizeInMB="64" cleanOnRoleRecycle="false" />
    </LocalResources>
  </VirtualMachineRole>
</ServiceDefinition>
"""
SMALL_CSCFG = f"""<ServiceConfiguration serviceName="shop" xmlns="{Schema.CONFIGURATION.namespace}">
  <Role name="web">
    <Instances count="2" />
    <OsImage href="base" />
  </Role>
</ServiceConfiguration>
"""
WISHES = Wishes(vip="203.0.113.20")


def imported(csdef: str = SMALL_CSDEF, cscfg: str = SMALL_CSCFG, wishes: Wishes = WISHES) -> Imported:
    """The import of two files called shop.csdef and shop.cscfg."""
    return translate(definition(csdef), configuration(cscfg), wishes)


def definition(csdef: str) -> Element:
    """shop.csdef."""
    return read(csdef.encode(), "shop.csdef", Schema.DEFINITION)


def configuration(cscfg: str) -> Element:
    """shop.cscfg."""
    return read(cscfg.encode(), "shop.cscfg", Schema.CONFIGURATION)


def parsed(text: str, form: AnswerFormat = AnswerFormat.UNATTEND) -> ServiceSpec:
    """What the service file says where every image is there and reads `form`."""
    windows = form is AnswerFormat.UNATTEND
    return servicefile.parse(
        text,
        lambda name: Image(
            sha256="0" * 64,
            format=DiskFormat.QCOW2,
            os=Os.WINDOWS if windows else Os.LINUX,
            size_bytes=1,
            virtual_size_bytes=1,
            names=(name,),
            added_at_s=0,
            answers=form,
        ),
    )
