// Above: `data(i)`; `reached(i)`; `is_for(i, first)`, which asks `named` of each index;
// `place_index(i)` and `candidate_index(j)`, which add up to the offset of an update's first
// index, `place_update(i)` and `candidate_update(j)` to that of its element; `index(at)`,
// `updated(at)`, `narrow(index)`, `joined(before, update)`, `fault()`.
//
// Indices are only compared, never used as an offset; one outside is told.

fn compute(i: u32) -> Data {
    var it = data(i);
    if !reached(i) { return it; }
    let indices = place_index(i);
    let updates = place_update(i);
    for (var j = 0u; j < CANDIDATES; j++) {
        if is_for(i, indices + candidate_index(j)) {
            it = joined(it, updated(updates + candidate_update(j)));
        }
    }
    return it;
}

fn named(raw: Index, size: i32, place: i32) -> bool {
    let it = narrow(raw);
    let at = select(it, it + size, WRAPS && it < 0);
    if at < 0 || at >= size {
        fault();
    }
    return at == place;
}
