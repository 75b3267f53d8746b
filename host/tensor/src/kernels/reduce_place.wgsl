// The place of an extreme, per thread. Above: as in reduce.wgsl, and `better(a, b)`.

fn compute(i: u32) -> vec2<u32> {
    let row = outer(i);
    var found = 0u;
    var most = x(row + inner(0u));
    for (var at = 1u; at < N_REDUCED; at++) {
        let it = x(row + inner(at));
        if better(it, most) {
            most = it;
            found = at;
        }
    }
    return vec2<u32>(found, 0u);
}
