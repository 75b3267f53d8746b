// A float as a wide integer, cut towards zero and held within its range. By its size: the
// words of a float's size are exact, those of a small negative number are not.
fn widened(x: f32) -> vec2<u32> {
    if x >= 9223372036854775808.0 { return vec2<u32>(0xffffffffu, 0x7fffffffu); }
    if x <= -9223372036854775808.0 { return vec2<u32>(0u, 0x80000000u); }
    let size = trunc(abs(x));
    let upper = floor(size / 4294967296.0);
    let high = u32(upper);
    let low = u32(size - upper * 4294967296.0);
    if x >= 0.0 { return vec2<u32>(low, high); }
    let turned = ~low + 1u;
    return vec2<u32>(turned, ~high + select(0u, 1u, turned == 0u));
}
