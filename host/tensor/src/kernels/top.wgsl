// One row per group, one place after another: the first of all that come after the last
// one found, by size and, where that is equal, by place. Above: `outer(i)`, `out_outer(i)`,
// ALONG, OUT_ALONG, `x(at)`, `beyond(a, b)`, N, N_TOP.

var<workgroup> found: array<u32, 64>;

// Whether the element at `a` comes before that at `b`.
fn comes_before(row: i32, a: u32, b: u32) -> bool {
    let left = x(row + i32(a) * ALONG);
    let right = x(row + i32(b) * ALONG);
    return beyond(left, right) || (!beyond(right, left) && a < b);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let number = part.x + group.x;
    let row = outer(number);
    // N stands for no place.
    var last = N;
    for (var rank = 0u; rank < N_TOP; rank++) {
        var own = N;
        for (var at = thread; at < N; at += 64u) {
            let is_left = last == N || comes_before(row, last, at);
            if is_left && (own == N || comes_before(row, at, own)) {
                own = at;
            }
        }
        found[thread] = own;
        workgroupBarrier();
        for (var half = 32u; half > 0u; half /= 2u) {
            if thread < half {
                let other = found[thread + half];
                let mine = found[thread];
                if other != N && (mine == N || comes_before(row, other, mine)) {
                    found[thread] = other;
                }
            }
            workgroupBarrier();
        }
        last = found[0];
        if thread == 0u {
            store(u32(out_outer(number) + i32(rank) * OUT_ALONG), vec2<u32>(last, 0u));
        }
        workgroupBarrier();
    }
}
