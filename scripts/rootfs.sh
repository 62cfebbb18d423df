#!/usr/bin/env bash
# rootfs.sh FOLDER [BINARY]: lays out what an image of the service has to hold, and nothing else:
# the binary, the libraries that it loads, and the model. The Dockerfile copies it, the end-to-end
# suite runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1 binary=${2:-${CARGO_TARGET_DIR:-target}/release/dqn-scaler}

install -D -m 755 "$binary" "$root/bin/dqn-scaler"
needed=$(ldd "$binary")
if grep 'not found' <<< "$needed" >&2; then exit 1; fi
# "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", and the loader, which is found by its path
# alone.
awk '$2 == "=>" && $3 ~ "^/" {print $3}' <<< "$needed" | while read -r library; do
    install -D -m 755 "$library" "$root/lib/$(basename "$library")"
done
loader=$(awk '$1 ~ "^/" {print $1}' <<< "$needed")
install -D -m 755 "$loader" "$root$loader"
# A fifth of libtorch is symbols for debuggers.
strip --strip-unneeded "$root/bin/dqn-scaler" "$root/lib/libtorch_cpu.so"
for model in models/final-models/*.pth; do
	install -D -m 644 "$model" "$root/$model"
done
