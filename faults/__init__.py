"""Contenders under faults: `make faults`.

Processes lock and unlock while a nemesis breaks servers, connections, clocks and the processes themselves. Then a
checker proves from the servers' transaction logs, and from what each process was told, that the promises were kept.
"""
