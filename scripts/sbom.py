#!/usr/bin/env python3
"""Prints what the Linux binary is made of, as CycloneDX 1.6: the crates of the lock file that it is
built from, by their hashes, and the wheels that libtorch is taken from. The same sources give the
same text."""

import json
import pathlib
import re
import subprocess
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = "x86_64-unknown-linux-gnu"


def metadata():
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={TARGET}"]
    return json.loads(subprocess.check_output(command, cwd=ROOT))


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(crate["name"], crate["version"]): crate.get("checksum") for crate in lock["package"]}


def graph(meta):
    """Each package that is built into the binary or builds it, and what it needs itself."""

    def needed(node):
        return sorted(
            dependency["pkg"]
            for dependency in node["deps"]
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
        )

    nodes = {node["id"]: needed(node) for node in meta["resolve"]["nodes"]}
    reached, waiting = {}, [meta["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package not in reached:
            reached[package] = nodes[package]
            waiting.extend(nodes[package])
    return reached


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def crate(package, checksum):
    component = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package.get("license"):
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return component


def wheels():
    """As scripts/libtorch.sh fetches them."""
    script = (ROOT / "scripts/libtorch.sh").read_text()
    platform = script.split("linux-x86_64)\n    megabytes")[1].split(";;")[0]
    hashes = dict(re.findall(r"^\s+(torch|runtime|cupti)=([0-9a-f]{64})$", platform, re.MULTILINE))
    versions = dict(re.findall(r'echo "([a-z-]+)==([0-9.]+) --hash', script))
    versions["torch"] = re.search(r"^TORCH=([0-9.]+)", script, re.MULTILINE)[1]
    names = {"torch": "torch", "runtime": "nvidia-cuda-runtime", "cupti": "nvidia-cuda-cupti"}
    for key, name in names.items():
        purl = f"pkg:pypi/{name}@{versions[name]}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": versions[name],
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": hashes[key]}],
        }


def main():
    meta, sums = metadata(), checksums()
    packages = {package["id"]: package for package in meta["packages"]}
    edges = graph(meta)
    root = packages[meta["resolve"]["root"]]
    libraries = list(wheels())
    crates = [
        crate(
            packages[package], sums.get((packages[package]["name"], packages[package]["version"]))
        )
        for package in edges
        if package != root["id"]
    ]
    components = sorted(crates + libraries, key=lambda component: component["bom-ref"])
    dependencies = [
        {
            "ref": reference(packages[package]),
            "dependsOn": sorted(reference(packages[needed]) for needed in needs)
            + ([library["bom-ref"] for library in libraries] if package == root["id"] else []),
        }
        for package, needs in edges.items()
    ]
    content = json.dumps([components, sorted(dependencies, key=lambda entry: entry["ref"])])
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {**crate(root, None), "type": "application"}},
        "components": components,
        "dependencies": sorted(dependencies, key=lambda entry: entry["ref"]),
    }
    print(json.dumps(bom, indent=1))


main()
