// One output per thread. Above: `outer(i)` and `inner(i)`, offsets of a row and in it;
// `x(at)`; `first(i)`, `each(it)`, `join(a, b)`, `last(it)`.

fn compute(i: u32) -> Number {
    let row = outer(i);
    var all = first(i);
    for (var at = 0u; at < N_REDUCED; at++) {
        all = join(all, each(x(row + inner(at))));
    }
    return last(all);
}
