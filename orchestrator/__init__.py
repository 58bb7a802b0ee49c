"""vmrole: named instances from read-only images on plain Linux hosts.

The architecture on one screen. Imports point one way, top to bottom; import-linter keeps it.

    cli          daemon                 the two entry points; daemon alone picks the drivers
     |             |
    client ....  api                    HTTP on a unix socket; the only writer of goals
                   |
               reconciler               the loop; turns: read the record, take one step, save, say one line
                   |
               lifecycle                THE table: phase, step, next phase, deadline
                   |
                 steps                  one function per phase: look, do the least that is missing
                   |
                 ports  <---- drivers   what the core asks of the world, and who answers
                   |
             model, errors              frozen values; whose turn it is when something fails
"""

__version__ = "0.1.0"
