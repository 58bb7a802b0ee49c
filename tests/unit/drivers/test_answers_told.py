"""What evidence tells of an answer disc: who the guest was told to be, and no secret."""

from __future__ import annotations

import dataclasses

import pytest
from vmrole_unattend.secret import SecretRef, SecretSource
from vmrole_unattend.windows.answers import Account, Answers

from orchestrator.drivers.disks.answers_told import told
from orchestrator.errors import NotFound
from orchestrator.model import AnswerFormat, Os
from tests.world.fabric import web_role
from tests.world.instances import instance_of

PASSWORD = SecretRef(source=SecretSource.SECRET, name="admin")


def test_a_disc_for_cloud_init() -> None:
    """Its meta-data are shown; of user-data the size and digest."""
    role = web_role(instances=1, user_data="#cloud-config\npassword: Tr0ub4dor\n")
    text = told(instance_of(role, 0))["answers.txt"].decode()
    assert '"local-hostname": "web-0"' in text
    assert "Tr0ub4dor" not in text
    assert "== user-data: " in text
    assert "SHA-256 " in text


@pytest.mark.parametrize("answers", [AnswerFormat.NOCLOUD, AnswerFormat.CONFIG_DRIVE])
def test_user_data_that_are_a_secret(answers: AnswerFormat) -> None:
    """It is told which; the rest is shown as ever."""
    kept = SecretRef(source=SecretSource.SECRET, name="web.yaml")
    role = dataclasses.replace(web_role(instances=1), answers=answers, user_data="", user_data_from=kept)
    text = told(instance_of(role, 0))["answers.txt"].decode()
    assert '"local-hostname": "web-0"' in text
    assert "== user-data\n(secret web.yaml, of which nothing is told)\n" in text


def test_other_words_have_another_digest() -> None:
    """So that two failures can be compared."""
    roles = [web_role(instances=1, user_data=text) for text in ("#!/bin/sh\n", "#!/bin/ash\n")]
    one, two = (told(instance_of(role, 0))["answers.txt"] for role in roles)
    assert one != two


def test_a_disc_for_windows() -> None:
    """Its answer file, with passwords and command lines masked; the texts of scripts are not shown."""
    answers = Answers(administrator_password=PASSWORD, accounts=(Account(name="alice", password=PASSWORD),))
    role = dataclasses.replace(web_role(instances=1), os=Os.WINDOWS, answers=AnswerFormat.UNATTEND, unattend=answers)
    text = told(instance_of(role, 0))["answers.txt"].decode()
    assert "<ComputerName>web-0</ComputerName>" in text
    assert "alice" in text
    assert "<Path>***</Path>" in text
    assert "== vmrole/specialize.cmd: " in text


def test_who_reads_no_disc() -> None:
    """Nothing is made up."""
    with pytest.raises(NotFound, match="reads no answer disc"):
        told(instance_of(dataclasses.replace(web_role(instances=1), answers=AnswerFormat.NONE), 0))


OWN = """\
<?tool geheim?>
<unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:w="http://schemas.microsoft.com/WMIConfig/2002/State">
<!-- tried: net user a geheim1 <u:Path>geheim2</u:Path> -->
<settings pass="specialize"><component name="Microsoft-Windows-Deployment" processorArchitecture="amd64"
 publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"><RunSynchronous>
<RunSynchronousCommand w:action="add"><Order>1</Order>
<Path><![CDATA[net user a geheim3]]></Path></RunSynchronousCommand>
<RunSynchronousCommand w:action="add"><Order>2</Order><Path>a <!-- geheim4 -->geheim5</Path></RunSynchronousCommand>
<RunSynchronousCommand w:action="add"><Order>3</Order><Path>a &lt; geheim6</Path></RunSynchronousCommand>
<RunSynchronousCommand w:action="add"><Order>4</Order><Description>sets geheim7</Description>
<Path x="geheim8">a</Path></RunSynchronousCommand></RunSynchronous></component>
<component name="Microsoft-Windows-Shell-Setup"
 processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
<RegisteredOwner>somebody</RegisteredOwner><?x geheim?></component></settings><settings pass="oobeSystem">
<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"
 language="neutral" versionScope="nonSxS"><UserAccounts><LocalAccounts><LocalAccount w:action="add"><Name>eve</Name>
<Description>first geheim9</Description></LocalAccount></LocalAccounts></UserAccounts></component></settings>
<Extensions xmlns="https://tool.example/"><File path="geheim"><Deep>geheim</Deep> geheim</File></Extensions>
</unattend>
"""


def test_no_way_to_write_a_command_shows_it() -> None:
    """As data, around a comment, with an entity, in a comment: a password is often in one. Nor does anything else
    that is no setting: descriptions, and the scripts that a tool keeps in the file. What is one is shown.
    """
    answers = Answers(administrator_password=PASSWORD, own_xml=OWN)
    role = dataclasses.replace(web_role(instances=1), os=Os.WINDOWS, answers=AnswerFormat.UNATTEND, unattend=answers)
    text = told(instance_of(role, 0))["answers.txt"].decode()
    assert "geheim" not in text
    assert text.count("<Path>***") >= 3
    assert "<!--***-->" in text
    assert "<Description>***" in text
    assert all(
        word in text for word in ("<RegisteredOwner>somebody<", "<Name>eve<", "<Order>4<", 'pass="oobeSystem"')
    )
