"""The command line, one command a file.

A command is a module with ``add_arguments(parser)`` and ``run(arguments) -> int``. It imports what it needs inside
``run``: ``ebpfmesh --help`` loads none of it.
"""
