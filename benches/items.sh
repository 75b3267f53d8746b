#!/usr/bin/env bash
# One core beside all cores, alternating, seven rounds: the `items` bench's figure
# and `trommel check` on 20,000 messages, start-up included. Needs taskset and bc.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --quiet --package trommel
trommel=${CARGO_TARGET_DIR:-target}/release/trommel
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
for _ in $(seq 5000); do cat samples/comments.jsonl; done >"$lines"

seconds() { # the seconds that a command takes
    local start end
    start=$(date +%s.%N)
    "$@" <"$lines" >/dev/null
    end=$(date +%s.%N)
    echo "$end - $start" | bc
}
median() { printf '%s\n' "$@" | sort -n | sed -n 4p; }

# What the machine itself gives: two runs at once, each on a core of its own.
both() {
    taskset -c 0 "$@" <"$lines" >/dev/null &
    taskset -c 1 "$@"
    wait
}

one=() all=() apart=()
for _ in 1 2 3 4 5 6 7; do
    one+=("$(seconds taskset -c 0 "$trommel" check - --format jsonl)")
    all+=("$(seconds "$trommel" check - --format jsonl)")
    [ "$(nproc)" -lt 2 ] || apart+=("$(seconds both "$trommel" check - --format jsonl)")
done
[ "$(nproc)" -lt 2 ] || echo "two separate runs at once, a core each: $(median "${apart[@]}") s, so two cores are worth $(echo "scale=2; 2 * $(median "${one[@]}") / $(median "${apart[@]}")" | bc) of one"
echo "check, 20,000 messages: one core $(median "${one[@]}") s, $(nproc) cores $(median "${all[@]}") s, ratio $(echo "scale=2; $(median "${one[@]}") / $(median "${all[@]}")" | bc)"

cargo bench --quiet --package trommel-benches --bench items 2>/dev/null | grep 'items per second'
taskset -c 0 cargo bench --quiet --package trommel-benches --bench items 2>/dev/null | grep 'items per second'
