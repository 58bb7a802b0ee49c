"""Service definitions and configurations of Azure Cloud Services (.csdef and .cscfg), made into a service file.

`definition` reads the two files, `ledger` keeps account of what became of each of their parts, `sizes` knows the
machine sizes, `translate` makes the service file. Nothing here talks to Azure or to the daemon.
"""
