// One output per thread: all elements of the input whose window lies over it. Above: sizes;
// `x_outer(image and group)`, `w_outer(group and channel out)`, `bias(channel out)`; strides.
// INPUT_n are the elements that come in, OUTPUT_n those that are made, BEFORE_n those cut off.

// The place of the input whose window covers `y` by its element `k`; -1 where there is none.
fn under(y: i32, k: i32, stride: i32, dilation: i32, n: i32) -> i32 {
    let reach = y - k * dilation;
    if reach < 0 || reach % stride != 0 || reach / stride >= n {
        return -1;
    }
    return reach / stride;
}

fn compute(i: u32) -> f32 {
    let place = i % PLACES;
    let channel = i / PLACES % PER_GROUP;
    let outer = i / (PLACES * PER_GROUP);
    let group = outer % GROUPS;
    let x = x_outer(outer);
    let w = w_outer(group * PER_GROUP + channel);
    let y0 = i32(place / (OUTPUT_2 * OUTPUT_1)) + BEFORE_0;
    let y1 = i32(place / OUTPUT_2 % OUTPUT_1) + BEFORE_1;
    let y2 = i32(place % OUTPUT_2) + BEFORE_2;
    var sum = bias(group * PER_GROUP + channel);
    for (var k0 = 0; k0 < i32(KERNEL_0); k0++) {
        let x0 = under(y0, k0, STRIDE_0, DILATION_0, i32(INPUT_0));
        if x0 < 0 { continue; }
        for (var k1 = 0; k1 < i32(KERNEL_1); k1++) {
            let x1 = under(y1, k1, STRIDE_1, DILATION_1, i32(INPUT_1));
            if x1 < 0 { continue; }
            for (var k2 = 0; k2 < i32(KERNEL_2); k2++) {
                let x2 = under(y2, k2, STRIDE_2, DILATION_2, i32(INPUT_2));
                if x2 < 0 { continue; }
                let seen = x + x0 * X_0 + x1 * X_1 + x2 * X_2;
                let by = w + k0 * W_0 + k1 * W_1 + k2 * W_2;
                for (var c = 0; c < i32(CHANNELS); c++) {
                    sum = fma(x_element(seen + c * X_CHANNEL), w_element(by + c * W_CHANNEL), sum);
                }
            }
        }
    }
    return sum;
}
