// A wide integer as a float. By its size, since the words of a small negative number are
// large ones.
fn narrowed(it: vec2<u32>) -> f32 {
    let negative = (it.y & 0x80000000u) != 0u;
    var low = it.x;
    var high = it.y;
    if negative {
        low = ~it.x + 1u;
        high = ~it.y + select(0u, 1u, low == 0u);
    }
    let size = f32(high) * 4294967296.0 + f32(low);
    return select(size, -size, negative);
}
