// Above: the windows' sizes, `x_outer(image and channel)`, `x(at)`, `join`, `last`. `n` are
// the elements met, `counted` those of the input and its explicit padding.

fn compute(i: u32) -> f32 {
    let outer = x_outer(i / (OUTPUT_0 * OUTPUT_1 * OUTPUT_2));
    let from0 = i32(i / (OUTPUT_2 * OUTPUT_1) % OUTPUT_0) * STRIDE_0 - BEFORE_0;
    let from1 = i32(i / OUTPUT_2 % OUTPUT_1) * STRIDE_1 - BEFORE_1;
    let from2 = i32(i % OUTPUT_2) * STRIDE_2 - BEFORE_2;
    var all = 0.0;
    var n = 0u;
    var counted = 0u;
    for (var k0 = 0; k0 < i32(KERNEL_0); k0++) {
        let y0 = from0 + k0 * DILATION_0;
        for (var k1 = 0; k1 < i32(KERNEL_1); k1++) {
            let y1 = from1 + k1 * DILATION_1;
            for (var k2 = 0; k2 < i32(KERNEL_2); k2++) {
                let y2 = from2 + k2 * DILATION_2;
                if y0 + BEFORE_0 < PADDED_0 && y1 + BEFORE_1 < PADDED_1
                    && y2 + BEFORE_2 < PADDED_2 {
                    counted++;
                }
                if y0 >= 0 && y1 >= 0 && y2 >= 0
                    && y0 < i32(INPUT_0) && y1 < i32(INPUT_1) && y2 < i32(INPUT_2) {
                    all = join(all, x(outer + y0 * X_0 + y1 * X_1 + y2 * X_2), n);
                    n++;
                }
            }
        }
    }
    return last(all, n, counted);
}
