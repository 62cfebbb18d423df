#!/usr/bin/env bash
# Judges by networks that have not seen what they are judged on: trained without a source and judged
# on it alone, for each source; and five seeds on the third that is held out. What stands in
# OUT/*.pth is not trained again. Takes about an hour and a half on two cores.
#   nested.sh TRACES [OUT]
set -euo pipefail
traces=${1:?the folder of the series}
out=${2:-target/nested}
binary=${DQN_SCALER:-target/release/dqn-scaler}
rounds=${ROUNDS:-12}
policies=dqn,guard-rule
mkdir -p "$out"

train() { # NAME FLAGS…
    local name=$1
    shift
    [ -f "$out/$name.done" ] && return
    "$binary" train --traces "$traces" --rounds "$rounds" --out "$out/$name.pth" \
        --curves "$out/$name.csv" "$@"
    touch "$out/$name.done"
}

judge() { # NAME FLAGS…
    local name=$1 usage hold
    shift
    for usage in metrics-api kubelet; do
        for hold in '' --hold; do
            "$binary" evaluate --traces "$traces" --model "$out/$name.pth" --policies $policies \
                --usage $usage $hold "$@" | tee "$out/$name-$usage$hold.txt"
        done
    done
}

# What has no memory takes no part.
sources=$(grep -l memory_mib "$traces"/*-*.csv | xargs -n 1 basename | cut -d- -f1 | sort -u)
for source in $sources; do
    train "without-$source" --seed 1 --without-source "$source"
    judge "without-$source" --source "$source"
done
for seed in 1 2 3 4 5; do
    train "seed-$seed" --seed "$seed"
    judge "seed-$seed" --holdout
done
