"""Saved pipelines by name, from the Hugging Face hub or its local cache."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""What may be chosen of a download, as `huggingface_hub.snapshot_download` has it."""

FILES = ("*.json", "*.safetensors", "*.txt")


def download(name: str, options: dict) -> Path:
    """Folder in the hub's cache of a pipeline by name, as "someone/chairs"; takes `OPTIONS` out of the options.

    diffusers' own download refuses a part whose class is of another package, as the upsampler's network is.

    Raises:
      OSError, ValueError: no such name, not a name, or no network and not in the cache.
    """
    chosen = {key: options.pop(key) for key in OPTIONS if key in options}
    return Path(snapshot_download(name, allow_patterns=list(FILES), **chosen))
