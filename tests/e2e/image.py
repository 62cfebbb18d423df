#!/usr/bin/env python3
"""image.py NAME FOLDER CONFIG: writes an image to standard output, of one layer, which is FOLDER;
CONFIG is what a Dockerfile would say of it, as JSON: {"Entrypoint": […], "User": …}."""

import hashlib
import io
import json
import sys
import tarfile
import tempfile

name, folder, config = sys.argv[1:]


def owned_by_root(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


with tempfile.TemporaryFile() as layer, tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as image:
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(folder, ".", filter=owned_by_root)
    layer.seek(0)
    digest = hashlib.file_digest(layer, "sha256").hexdigest()
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": json.loads(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]

    def add(file, content):
        entry = tarfile.TarInfo(file)
        entry.size = content.seek(0, io.SEEK_END)
        content.seek(0)
        image.addfile(entry, content)

    add("config.json", io.BytesIO(json.dumps(described).encode()))
    add("manifest.json", io.BytesIO(json.dumps(manifest).encode()))
    add("layer.tar", layer)
