// One output per thread, for groups of few channels: depthwise above all. `i` counts
// image, group, channel, place; the output may lie in another order.

fn compute(i: u32) -> f32 {
    let at = i % PLACES;
    let channel = i / PLACES % PER_GROUP;
    let group = i / (PLACES * PER_GROUP) % GROUPS;
    let image = i / (PLACES * PER_GROUP * GROUPS);
    var sum = start(group, channel, at);
    for (var inner = 0u; inner < CHANNELS * WINDOW; inner++) {
        sum = fma(load_a(group, channel, inner), under(group, inner, image, at), sum);
    }
    return sum;
}

fn out_at(i: u32) -> u32 {
    let group = i / (PLACES * PER_GROUP) % GROUPS;
    let column = i / (PLACES * PER_GROUP * GROUPS) * PLACES + i % PLACES;
    return place(group, i / PLACES % PER_GROUP, column);
}
