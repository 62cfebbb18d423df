#!/usr/bin/env bash
# advisories.sh CARGO_DENY: checks the dependencies against the RustSec database. It is a repository
# outside of the package registries, so it is checked only where a copy is kept: ADVISORY_DB names a
# folder with one (a clone of rustsec/advisory-db, or its files), else what `cargo deny fetch` has
# put into the cargo home is used. With a copy, an advisory fails the check; without one, that is
# said. In any case it is first made sure that an advisory would be found.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$(realpath "$1")
name=advisory-db-3157b0e258782691 # what cargo-deny calls the database of RustSec
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Files without a repository around them get one: cargo-deny reads its date.
prepare() { # from, to
    mkdir -p "$2"
    cp -r "$1"/. "$2/$name"
    if [ ! -d "$2/$name/.git" ]; then
        git -C "$2/$name" init --quiet
        git -C "$2/$name" add --all
        git -C "$2/$name" -c user.name=advisories -c user.email=advisories@localhost \
            commit --quiet --message "As it was found"
    fi
    cp deny.toml "$2/deny.toml"
    printf '\n[advisories]\ndb-path = "%s"\n' "$2" >>"$2/deny.toml"
}
check() { "$deny" --offline --config "$1/deny.toml" check advisories; }

mkdir -p "$work/made-up/crates/serde"
cat >"$work/made-up/crates/serde/RUSTSEC-2000-0000.md" <<'ADVISORY'
```toml
[advisory]
id = "RUSTSEC-2000-0000"
package = "serde"
date = "2000-01-01"

[versions]
patched = []
```

# Made up, to see that an advisory is found
ADVISORY
prepare "$work/made-up" "$work/proof"
if found=$(check "$work/proof" 2>&1) || ! grep -q RUSTSEC-2000-0000 <<<"$found"; then
    echo "$found" >&2
    echo "advisories: a made-up advisory was not found, so the check is of no use" >&2
    exit 1
fi

kept=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
if [ -n "${ADVISORY_DB:-}" ]; then
    prepare "$ADVISORY_DB" "$work/given"
    echo "advisories: checked against $ADVISORY_DB of" \
        "$(git -C "$work/given/$name" log -1 --format=%cs)" >&2
    check "$work/given"
elif [ -d "$kept" ]; then
    "$deny" --offline check advisories
else
    echo "advisories: NOT CHECKED: no database on this machine, and ADVISORY_DB names none" >&2
fi
