#!/usr/bin/env python3
"""image.py NAME FOLDER ARGUMENT…: writes an image whose one layer is FOLDER and whose entry point is ARGUMENT…, to standard output."""
import hashlib
import io
import json
import sys
import tarfile

name, folder, *entrypoint = sys.argv[1:]


def owned_by_root(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as archive:
    archive.add(folder, ".", filter=owned_by_root)
digest = hashlib.sha256(layer.getbuffer()).hexdigest()
config = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": entrypoint, "Env": ["PATH=/"]},
          "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
    for file, content in [("config.json", json.dumps(config).encode()), ("manifest.json", json.dumps(manifest).encode()),
                          ("layer.tar", layer.getbuffer())]:
        entry = tarfile.TarInfo(file)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
