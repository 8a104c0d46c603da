"""What runs inside the jail: a supervisor that never runs a program, and the interpreters it forks.

Law: the standard library and this folder are all that is imported before a program asks for more.
"""
