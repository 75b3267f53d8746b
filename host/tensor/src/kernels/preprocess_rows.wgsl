// Along the rows of an image, and on to the tensor: colour, normalisation, layout.
//
// `sums`: rows of RGB from row `sums_row` of the inner rectangle on, as the other pass left
// them, `row_values` apart; `out`: the tensor, whose channels and pixels lie by their
// strides; `taps`: see preprocess.rs. A thread makes one pixel of the output.

struct Launch {
    // Pixels of the output that this launch makes, counted row by row.
    begin: u32,
    end: u32,
    width: u32,
    // The inner rectangle; around it is ground.
    left: u32,
    top: u32,
    inner_width: u32,
    inner_height: u32,
    sums_row: u32,
    row_values: u32,
    // Column of the source that stands first in `sums`.
    source_x: u32,
    // Where the taps of column 0 stand.
    taps_at: u32,
    n_channels: u32,
    channel_stride: u32,
    pixel_stride: u32,
    scale: f32,
    padding: f32,
    ground: vec4<f32>,
    deviation: vec4<f32>,
    // For each channel how much of red, green and blue it is, and its mean.
    channels: array<vec4<f32>, 3>,
}

@group(0) @binding(0) var<uniform> launch: Launch;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read> taps: array<u32>;

fn resampled(x: u32, y: u32) -> vec3<f32> {
    let tap = launch.taps_at + 3u * x;
    let first = taps[tap];
    let end = taps[tap + 1u];
    let weights = taps[tap + 2u] - first;
    var at = (y - launch.sums_row) * launch.row_values + 3u * (first - launch.source_x);
    var sum = vec3<f32>();
    for (var column = first; column < end; column++) {
        let weight = bitcast<f32>(taps[weights + column]);
        sum += weight * vec3<f32>(sums[at], sums[at + 1u], sums[at + 2u]);
        at += 3u;
    }
    // Filters with negative lobes overshoot at edges.
    return clamp(sum, vec3<f32>(0.0), vec3<f32>(255.0));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = launch.begin + group.x * 64u + thread;
    if i >= launch.end {
        return;
    }
    // Left of the rectangle and above it this wraps around, and is outside too.
    let x = i % launch.width - launch.left;
    let y = i / launch.width - launch.top;
    var rgb = launch.ground.xyz;
    if x < launch.inner_width && y < launch.inner_height {
        rgb = resampled(x, y);
    }
    for (var at = 0u; at < launch.n_channels; at++) {
        let channel = launch.channels[at];
        let value = (dot(channel.xyz, rgb) * launch.scale - channel.w) / launch.deviation[at];
        out[at * launch.channel_stride + i * launch.pixel_stride] = value;
    }
}
