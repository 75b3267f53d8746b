// A number as f16: the nearest, or one of its two neighbours as the driver rounds, and held
// within the largest. What is no number stays none. It is told by its bits, since a shader
// may assume that there is none, and `clamp` may make a number of it.
fn halved(it: f32) -> f16 {
    if (bitcast<u32>(it) & 0x7fffffffu) > 0x7f800000u {
        return f16(it);
    }
    return f16(clamp(it, -65504.0, 65504.0));
}
