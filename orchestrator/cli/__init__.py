"""The command line. Data goes to stdout, talk to stderr; a verb's module is imported only when the verb is used."""
