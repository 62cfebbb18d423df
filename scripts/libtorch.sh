#!/usr/bin/env bash
# Puts the CPU part of libtorch into .libtorch/ from the Python package index, once: for Linux on
# x86-64 and on 64-bit ARM, and for macOS 14 or later on Apple silicon. With LIBTORCH set to a
# libtorch of your own, this does nothing. --size only tells how many MB it would fetch, if any.
#
# LIBTORCH_PLATFORM=linux-aarch64 LIBTORCH_DEST=FOLDER CC=aarch64-linux-gnu-gcc prepares it for
# another platform than this one. That is all that has been tried of macos-arm64: that the wheel is
# taken apart, and that its libraries name each other, and nothing else but the system's. Of
# linux-aarch64 also that the loader finds all of them, in an emulator. The service has been built
# and run on linux-x86_64 alone.
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH=2.13.0 # what the tch crate is written for
DEST=${LIBTORCH_DEST:-.libtorch}
MARK=$DEST/torch-$TORCH

say() { echo "libtorch: $*" >&2; }

if [ -n "${LIBTORCH:-}" ]; then
    say "using LIBTORCH=$LIBTORCH"
    exit 0
fi
case $(uname -s)-$(uname -m) in
Linux-x86_64) here=linux-x86_64 ;;
Linux-aarch64) here=linux-aarch64 ;;
Darwin-arm64) here=macos-arm64 ;;
*) here= ;;
esac
platform=${LIBTORCH_PLATFORM:-$here}
if [ "$platform" != "$here" ] && [ -z "${LIBTORCH_DEST:-}" ]; then
    say "LIBTORCH_PLATFORM=$platform is not this machine's: set LIBTORCH_DEST to another folder too"
    exit 1
fi
if [ -f "$MARK" ]; then
    exit 0
fi

# What the wheels' libtorch_cpu loads, down to the libraries of the system. On Linux it names two of
# CUDA's although no GPU is used. The names are of the wheels for Python 3.11, whatever runs here.
libraries="libc10.so libtorch_cpu.so libgomp.so.1 libcudart.so.13 libcupti.so.13"
case $platform in
linux-x86_64)
    megabytes=540
    tags="manylinux_2_28_x86_64 manylinux_2_25_x86_64 manylinux2014_x86_64"
    torch=60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7
    runtime=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
    cupti=4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
    ;;
linux-aarch64)
    megabytes=440
    tags="manylinux_2_28_aarch64 manylinux_2_25_aarch64 manylinux2014_aarch64"
    torch=092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c
    runtime=ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55
    cupti=796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151
    libraries="$libraries libarm_compute.so libarm_compute_graph.so
        libnvpl_blas_core.so.0 libnvpl_blas_lp64_gomp.so.0
        libnvpl_lapack_core.so.0 libnvpl_lapack_lp64_gomp.so.0"
    ;;
macos-arm64)
    megabytes=111
    tags="macosx_14_0_arm64"
    torch=e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8
    libraries="libc10.dylib libtorch_cpu.dylib libtorch.dylib libomp.dylib"
    ;;
*)
    say "no wheel is prepared for ${platform:-$(uname -s)-$(uname -m)};" \
        "install libtorch $TORCH and set LIBTORCH to its folder"
    exit 1
    ;;
esac

if [ "${1:-}" = --size ]; then
    echo "$megabytes"
    exit 0
fi
work=$(mktemp -d)
downloading=
# shellcheck disable=SC2329 # called by the trap
finish() {
    if [ -n "$downloading" ]; then kill "$downloading" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# pip refuses wheels with other hashes.
echo "torch==$TORCH --hash=sha256:$torch" >"$work/requirements.txt"
if [ "$platform" != macos-arm64 ]; then
    echo "nvidia-cuda-runtime==13.0.96 --hash=sha256:$runtime"
    echo "nvidia-cuda-cupti==13.0.85 --hash=sha256:$cupti"
fi >>"$work/requirements.txt"

pip=(python3 -m pip download --disable-pip-version-check --no-deps --only-binary :all:
    --python-version 3.11 --dest "$work/wheels" --requirement "$work/requirements.txt")
for tag in $tags; do pip+=(--platform "$tag"); done

have() { # megabytes that are here by now
    find "$work" -name '*.whl' -exec du -k {} + 2>/dev/null |
        awk -v most=$megabytes '{kib += $1}
            END {have = int(kib * 1.024 / 1000); print have < most ? have : most}'
}

say "downloading torch $TORCH for $platform ($megabytes MB)"
if [ -t 2 ]; then
    TMPDIR=$work "${pip[@]}" >&2 # with a bar of its own
else
    TMPDIR=$work exec "${pip[@]}" --quiet --progress-bar off >&2 &
    downloading=$!
    for ((seconds = 1; ; seconds++)); do
        sleep 1
        kill -0 "$downloading" 2>/dev/null || break
        if ((seconds % 10 == 0)); then say "$(have) of $megabytes MB"; fi
    done
    wait "$downloading"
    downloading=
fi

say "keeping the CPU library in $DEST"
rm -rf "$DEST.part"
mkdir -p "$DEST.part/lib"
# shellcheck disable=SC2086
python3 - "$work/wheels" "$DEST.part" $libraries <<'PY'
import glob, os, shutil, sys, zipfile

wheels, dest, *libraries = sys.argv[1:]
for wheel in glob.glob(os.path.join(wheels, "*.whl")):
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
if [ "$platform" != macos-arm64 ]; then
    # The wheel's own libtorch.so needs CUDA; this one only names the two CPU libraries.
    # shellcheck disable=SC2016
    "${CC:-cc}" -shared -o "$DEST.part/lib/libtorch.so" -Wl,--no-as-needed,-rpath,'$ORIGIN' \
        -L"$DEST.part/lib" -ltorch_cpu -lc10 -Wl,--allow-shlib-undefined
fi
echo "$TORCH" >"$DEST.part/build-version"
touch "$DEST.part/torch-$TORCH"
rm -rf "$DEST"
mv "$DEST.part" "$DEST"
say "ready in $DEST"
