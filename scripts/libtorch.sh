#!/usr/bin/env bash
# Puts the CPU part of libtorch into .libtorch/ from the Python package index, once.
# With LIBTORCH set to a libtorch of your own, this does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH=2.13.0          # what the tch crate is written for
CUDA_RUNTIME=13.0.96  # libtorch_cpu.so of this wheel loads these two; no GPU is used
CUDA_CUPTI=13.0.85
DEST=.libtorch
MARK="$DEST/torch-$TORCH"

if [ -n "${LIBTORCH:-}" ]; then
    echo "libtorch: using LIBTORCH=$LIBTORCH"
    exit 0
fi
if [ -f "$MARK" ]; then
    exit 0
fi
if [ "$(uname -s)-$(uname -m)" != "Linux-x86_64" ]; then
    echo "libtorch: no wheel is prepared for $(uname -s)-$(uname -m); install libtorch $TORCH and set LIBTORCH to its folder" >&2
    exit 1
fi

echo "libtorch: downloading torch $TORCH (about 540 MB) and keeping its CPU library in $DEST"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$work" --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_25_x86_64 \
    "torch==$TORCH" "nvidia-cuda-runtime==$CUDA_RUNTIME" "nvidia-cuda-cupti==$CUDA_CUPTI"
rm -rf "$DEST.part"
mkdir -p "$DEST.part/lib"
python3 - "$work" "$DEST.part" <<'PY'
import glob, os, shutil, sys, zipfile
work, dest = sys.argv[1:]
libraries = {"libc10.so", "libtorch_cpu.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"}
for wheel in glob.glob(os.path.join(work, "*.whl")):
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            base = os.path.basename(name)
            if name.startswith("torch/include/") and not name.endswith("/"):
                target = os.path.join(dest, name[len("torch/"):])
            elif base in libraries and "/lib/" in name:
                target = os.path.join(dest, "lib", base)
            else:
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with z.open(name) as source, open(target, "wb") as out:
                shutil.copyfileobj(source, out)
missing = sorted(l for l in libraries if not os.path.exists(os.path.join(dest, "lib", l)))
if missing:
    sys.exit("libtorch: the wheels hold no " + ", ".join(missing))
PY
# The wheel's own libtorch.so needs CUDA; this one only names the two CPU libraries.
cc -shared -o "$DEST.part/lib/libtorch.so" -Wl,--no-as-needed,-rpath,'$ORIGIN' \
    -L"$DEST.part/lib" -ltorch_cpu -lc10 -Wl,--allow-shlib-undefined
echo "$TORCH" > "$DEST.part/build-version"
touch "$DEST.part/torch-$TORCH"
rm -rf "$DEST"
mv "$DEST.part" "$DEST"
echo "libtorch: ready in $DEST"
