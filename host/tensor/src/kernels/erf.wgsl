// The error function, to 1.5e-7 (Abramowitz, Stegun 1964, 7.1.26).
fn erf(x: f32) -> f32 {
    let a = min(abs(x), 10.0);
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t
        + 0.254829592) * t;
    return sign(x) * (1.0 - sum * exp(-a * a));
}
