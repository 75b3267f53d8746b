// What both kernels of a convolution read. Above: sizes and strides; `x_…` of the input,
// `w_…` of the weights, `bias(channel out)`, `out_place(place)`.

// The input under one element of the window, 0 where there is padding.
fn under(group: u32, inner: u32, image: u32, place: u32) -> f32 {
    let k = inner % WINDOW;
    let y0 = i32(place / (OUTPUT_2 * OUTPUT_1)) * STRIDE_0 - BEFORE_0
        + i32(k / (KERNEL_2 * KERNEL_1)) * DILATION_0;
    let y1 = i32(place / OUTPUT_2 % OUTPUT_1) * STRIDE_1 - BEFORE_1
        + i32(k / KERNEL_2 % KERNEL_1) * DILATION_1;
    let y2 = i32(place % OUTPUT_2) * STRIDE_2 - BEFORE_2 + i32(k % KERNEL_2) * DILATION_2;
    if y0 < 0 || y1 < 0 || y2 < 0
        || y0 >= i32(INPUT_0) || y1 >= i32(INPUT_1) || y2 >= i32(INPUT_2) {
        return 0.0;
    }
    return x_element(X_FIRST + x_image(image) + x_group(group) + x_channel(inner / WINDOW)
        + y0 * X_0 + y1 * X_1 + y2 * X_2);
}

fn load_a(group: u32, channel: u32, inner: u32) -> f32 {
    return w_element(w_outer(group * PER_GROUP + channel) + w_inner(inner));
}

fn load_b(group: u32, inner: u32, column: u32) -> f32 {
    return under(group, inner, column / PLACES, column % PLACES);
}

fn start(group: u32, channel: u32, column: u32) -> f32 {
    return bias(group * PER_GROUP + channel);
}

fn place(group: u32, channel: u32, column: u32) -> u32 {
    return u32(i32(column / PLACES) * OUT_IMAGE + i32(group) * OUT_GROUP
        + i32(channel) * OUT_CHANNEL + out_place(column % PLACES));
}
