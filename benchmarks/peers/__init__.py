"""The engine against its peers: servers with the same kernels, the same client, side by side in one run.

__main__      the command
race          rounds by turns, and what may be published of them
contenders    who takes part: how each is started, restarted and described
tuning        llama-server's options, the best of a small grid
bench         llama-bench: the engine without any server
scenario      what a scenario is: plays by size, what it needs, what is promised
chats         the client: streamed chats with a time for every chunk
streaming, prompts, company, conversations, load, tasks     the scenarios
machine       whether the machine kept its speed, and how fast it copies memory
"""
