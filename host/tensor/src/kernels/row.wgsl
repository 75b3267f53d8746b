// One row per group. Above: `outer(i)`, `inner(i)`, `out_outer(i)`, `out_inner(i)`, `x(at)`,
// N; what is taken from each element, FROM_MOST the row's maximum or FROM_MEAN its mean, else
// nothing; `term(it)` of the difference, which is summed, and `last(it, sum)`.

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
    var base = 0.0;
    if FROM_MOST {
        // Threads beyond a short row repeat its first element, which changes no maximum.
        var own = x(row + inner(select(0u, thread, thread < N)));
        for (var at = thread + 64u; at < N; at += 64u) {
            own = max(own, x(row + inner(at)));
        }
        parts[thread] = own;
        base = joined(thread, true);
    }
    if FROM_MEAN {
        var own = 0.0;
        for (var at = thread; at < N; at += 64u) {
            own += x(row + inner(at));
        }
        parts[thread] = own;
        base = joined(thread, false) / f32(N);
    }
    var sum = 0.0;
    for (var at = thread; at < N; at += 64u) {
        sum += term(x(row + inner(at)) - base);
    }
    parts[thread] = sum;
    sum = joined(thread, false);
    for (var at = thread; at < N; at += 64u) {
        let place = u32(out_outer(number) + out_inner(at));
        store(place, last(x(row + inner(at)) - base, sum));
    }
}
