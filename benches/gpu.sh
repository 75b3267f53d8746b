#!/usr/bin/env bash
# Measures every device of this machine with `kernel_matmul`, `kernel_conv`,
# `kernel_attention` and `session`, PyTorch beside them, and writes benches/RESULTS.md. Meant for a machine
# with an NVIDIA GPU; what is not there is "not measured". Needs python3 with PyTorch
# for the rival. TROMMEL_BENCH_DEVICES=cpu,gpu measures those devices alone.
set -euo pipefail
cd "$(dirname "$0")/.."
results=benches/RESULTS.md
figures=$(mktemp) log=$(mktemp)
trap 'rm -f "$figures" "$log"' EXIT

for bench in kernel_matmul kernel_conv kernel_attention session; do
    cargo bench --locked --workspace --bench "$bench" | tee "$log"
    grep '^figure: ' "$log" >>"$figures" || echo "gpu.sh: $bench measured nothing"
done

python3 benches/rival.py 2>&1 | tee "$log" || echo "gpu.sh: the rival did not finish"
grep '^figure: ' "$log" >>"$figures" || true
# What it says of itself, or why it could not run.
rival=$(grep -m1 '^rival: ' "$log" || echo "rival: PyTorch did not run")

gpu="none that NVIDIA's driver knows" driver="none"
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
    gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n1)
    driver="NVIDIA $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n1)"
fi
processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1)
commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD -- . ":!$results" || commit="$commit, with changes"

{
    cat <<END
# Results

Written by \`benches/gpu.sh\`, which reproduces them; [README.md](README.md) says what
the benches measure and what not.

| | |
|---|---|
| processor | $(nproc) cores of ${processor:-a processor that does not say} |
| GPU | $gpu |
| driver | $driver |
| PyTorch | ${rival#rival: } |
| Rust | $(rustc --version | cut -d' ' -f2) |
| commit | $commit |
| date | $(date -u +%Y-%m-%d) |
| command | \`benches/gpu.sh\`${TROMMEL_BENCH_DEVICES:+ with \`TROMMEL_BENCH_DEVICES=$TROMMEL_BENCH_DEVICES\`} |

Medians of one run with its result read back, and the rate that this makes. PyTorch is
eager, float32, TF32 off, on the GPU. f16 is timed beside f32 again, in rounds, and its share is
of that.
END
    # Rows in the order they were measured; one table for each bench and load.
    awk -F' [|] ' '
        { sub(/^figure: /, "", $1); key = $1 SUBSEP $2; value[key, $3] = $4 ", " $5 }
        !(key in seen) { seen[key]; order[++n] = key; bench[key] = $1; what[key] = $2 }
        $3 ~ /^gpu-software/ { small[key] }
        function cell(key, device) { return (key, device) in value ? value[key, device] : "not measured" }
        END {
            for (i = 1; i <= n; i++) {
                key = order[i]
                if (key in small) continue
                if (bench[key] != last) {
                    last = bench[key]
                    printf "\n## `%s`\n\n| what | CPU device | GPU device | GPU device, f16 | PyTorch |\n|---|---|---|---|---|\n", last
                }
                rival = last ~ /kernel_(conv|attention)/ ? "not asked" : cell(key, "pytorch")
                halves = last == "session" && what[key] !~ /resnet/ ? cell(key, "gpu-f16") : "not asked"
                printf "| %s | %s | %s | %s | %s |\n", what[key], cell(key, "cpu"), cell(key, "gpu"), halves, rival
            }
            for (i = 1; i <= n; i++) {
                key = order[i]
                if (!(key in small)) continue
                if (!said++) printf "\n## On a software adapter\n\nSmaller shapes; it shows that they run, not how fast a GPU is.\n\n| bench | what | GPU device, in software | the same, f16 |\n|---|---|---|---|\n"
                halves = bench[key] == "session" && what[key] !~ /resnet/ ? cell(key, "gpu-software-f16") : "not asked"
                printf "| `%s` | %s | %s | %s |\n", bench[key], what[key], cell(key, "gpu-software"), halves
            }
        }' "$figures"
} >"$results"
echo "gpu.sh: wrote $results"
