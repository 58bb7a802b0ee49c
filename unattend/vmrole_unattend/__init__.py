"""Answer discs: what an instance should be goes in, files and one reproducible ISO come out.

A package of its own: it knows nothing of virtual machines and imports nothing of vmrole's core, so that anything that
starts a guest can use it. `nocloud` makes the files that cloud-init reads, `configdrive` those for cloudbase-init,
`windows` those for Windows Setup itself; `iso` makes the disc. All work in memory and touch neither disk nor clock.

    disc = iso.write_iso(nocloud.files(answers), nocloud.LABEL)
"""

from vmrole_unattend.errors import AnswersInvalid

__all__ = ["AnswersInvalid"]
