"""The commands: what the scripts of the repository and the sub-commands of `xray` call."""
