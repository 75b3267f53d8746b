// One row per thread, summed in its order. Above: `outer(i)` and `out_outer(i)`, offsets of a
// row; ALONG and OUT_ALONG, from one element to the next; `x(at)`, `plus(a, b)`, N, N_ROWS.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = (part.x + group.x) * 64u + thread;
    if row >= N_ROWS { return; }
    var sum = Number();
    for (var at = 0u; at < N; at++) {
        let along = i32(select(at, N - 1u - at, REVERSE));
        let it = x(outer(row) + along * ALONG);
        let place = u32(out_outer(row) + along * OUT_ALONG);
        let so_far = plus(sum, it);
        if EXCLUSIVE {
            store(place, sum);
        } else {
            store(place, so_far);
        }
        sum = so_far;
    }
}
