// One row per group. Above: `outer(i)`, `inner(i)`, `out_outer(i)`, `out_inner(i)`, `x(at)`,
// N; SHIFTS, whether terms are taken from the row's maximum; `term`, `last`.

var<workgroup> parts: array<f32, 64>;

fn joined(thread: u32, largest: bool) -> f32 {
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if thread < half {
            if largest {
                parts[thread] = max(parts[thread], parts[thread + half]);
            } else {
                parts[thread] += parts[thread + half];
            }
        }
        workgroupBarrier();
    }
    let all = parts[0];
    workgroupBarrier();
    return all;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let number = part.x + group.x;
    let row = outer(number);
    var most = 0.0;
    if SHIFTS {
        // Threads beyond a short row repeat its first element, which changes no maximum.
        var own = x(row + inner(select(0u, thread, thread < N)));
        for (var at = thread + 64u; at < N; at += 64u) {
            own = max(own, x(row + inner(at)));
        }
        parts[thread] = own;
        most = joined(thread, true);
    }
    var sum = 0.0;
    for (var at = thread; at < N; at += 64u) {
        sum += term(x(row + inner(at)), most);
    }
    parts[thread] = sum;
    sum = joined(thread, false);
    for (var at = thread; at < N; at += 64u) {
        let place = u32(out_outer(number) + out_inner(at));
        store(place, last(x(row + inner(at)), most, sum));
    }
}
