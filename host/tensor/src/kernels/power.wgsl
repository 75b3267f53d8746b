// A power, also of what is negative where the exponent is whole: `pow` knows no sign.
fn power(x: f32, y: f32) -> f32 {
    if y == 0.0 { return 1.0; }
    if y == 1.0 { return x; }
    if y == 2.0 { return x * x; }
    if y == 3.0 { return x * x * x; }
    if y == 0.5 { return sqrt(x); }
    if y == -1.0 { return 1.0 / x; }
    if x == 0.0 && y > 0.0 { return 0.0; }
    let size = pow(abs(x), y);
    if x > 0.0 { return size; }
    if floor(y) != y {
        // Not a number; put together at run time, since a constant may not be one.
        return bitcast<f32>(0x7fc00000u | (bitcast<u32>(x) & 1u));
    }
    return select(size, -size, abs(y) % 2.0 == 1.0);
}
