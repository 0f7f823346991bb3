"""The files of the command line: safe reading of problems, and writing that leaves a whole file or none.

A file is believed only as far as its size bears it out: what its header declares is checked against the bytes that
are there, and against a limit on memory, before anything of that size is allocated. Nothing is ever unpickled. What
is wrong with a file is a ValueError that begins with its path.
"""
