"""The `mizar` command: users' verbs over the REST API, and the daemons' entrances.

`mizar.cli.main` is the entrance; a command is a module of `mizar.cli.commands`
and is imported when it is called. Decides nothing: the server does.
"""
