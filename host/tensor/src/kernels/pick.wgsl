// Above: `x_at(i)`, the offset of all that is not looked up; `index_at(i)`, that of an
// element's first index; `fault()`. Below: `compute(i)`, with a line for each axis.
//
// What an index says is data: one outside is told, and clamped, so that nothing is read
// out of bounds whether the driver checks or not.

fn within(raw: i32, size: i32) -> i32 {
    let at = select(raw, raw + size, raw < 0);
    if at < 0 || at >= size {
        fault();
    }
    return clamp(at, 0, size - 1);
}
