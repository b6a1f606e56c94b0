"""What the `edged` command does about models: pull, import, export, scrub, list, delete; each file a few of them."""
