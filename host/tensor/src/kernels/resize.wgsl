// Above: `place(i)` and `weight(i)`, a window for each place along the axis; `x_other(i)`,
// the offset of all other dimensions; `x(at)`. The tables are the plan's own, so no place
// is outside.

fn compute(i: u32) -> f32 {
    let along = i / INNER % ALONG;
    let other = x_other(i / (INNER * ALONG) * INNER + i % INNER);
    var sum = 0.0;
    for (var at = along * WINDOW; at < (along + 1u) * WINDOW; at++) {
        let share = weight(at);
        if share != 0.0 {
            sum = fma(share, x(other + place(at) * X_ALONG), sum);
        }
    }
    return sum;
}
