// A float as a wide integer, cut towards zero and held within its range. Divisions and
// products by powers of two are exact.
fn widened(x: f32) -> vec2<u32> {
    if x >= 9223372036854775808.0 { return vec2<u32>(0xffffffffu, 0x7fffffffu); }
    if x <= -9223372036854775808.0 { return vec2<u32>(0u, 0x80000000u); }
    let whole = trunc(x);
    let upper = floor(whole / 4294967296.0);
    let lower = whole - upper * 4294967296.0;
    return vec2<u32>(u32(lower), bitcast<u32>(i32(upper)));
}
