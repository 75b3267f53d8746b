// Above: `index(i)`, `narrow(index)`, `x_outer(i)`, `x_inner(i)`, `x(at)`, `fault()`.
//
// What an index says is data: one outside is told, and clamped, so that nothing is read
// out of bounds whether the driver checks or not.

fn compute(i: u32) -> Data {
    let raw = narrow(index(i / INNER % INDICES));
    let at = select(raw, raw + i32(AXIS), raw < 0);
    if at < 0 || at >= i32(AXIS) {
        fault();
    }
    let within = clamp(at, 0, i32(AXIS) - 1);
    return x(x_outer(i / (INNER * INDICES)) + within * X_AXIS + x_inner(i % INNER));
}
