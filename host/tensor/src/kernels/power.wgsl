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
    let odd = abs(y) % 2.0 == 1.0;
    return select(size, -size, x < 0.0 && odd);
}
