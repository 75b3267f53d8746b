// One output per group: each thread takes every 64th element, then halves are joined in
// an order that only the number of elements decides. Above: as in reduce.wgsl.

var<workgroup> parts: array<Number, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = part.x + group.x;
    let row = outer(i);
    // There are at least 64 elements.
    var all = each(x(row + inner(thread)));
    for (var at = thread + 64u; at < N_REDUCED; at += 64u) {
        all = join(all, each(x(row + inner(at))));
    }
    parts[thread] = all;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if thread < half {
            parts[thread] = join(parts[thread], parts[thread + half]);
        }
        workgroupBarrier();
    }
    if thread == 0u {
        store(i, last(parts[0]));
    }
}
