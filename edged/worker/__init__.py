"""Runs inside the children: `python -m edged.worker` decodes one model, `python -m edged.worker.template` renders.

Nothing of the daemon imports this package; it is started by name and spoken to through `edged.wire`.
"""
