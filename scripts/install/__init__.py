"""Installs what edged needs: system packages, the environment `.venv/`, llama.cpp compiled for this machine.

Runs before anything is installed, so it uses the standard library only, of any Python >= 3.11. The commands in
`scripts/` call it through `environment.sh`, which skips it when nothing has changed.

    __main__ -> virtual_environment -> engine -> compilation -> bar -> estimate
                                                  `----------> machine -> processes -> errors
"""
