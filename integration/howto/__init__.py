"""How-to pages whose commands are run: a program plays the steps and writes what each command said into the page."""
