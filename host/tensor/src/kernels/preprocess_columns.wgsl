// Down the columns of an image: weighted sums of its rows.
//
// `source`: a sheet, rows `source_from..source_end` of the image, RGB bytes, each row from a
// word of its own on; `sums`: rows of the output from `first_row` on, four f32 for each
// word; `taps`: see preprocess.rs. A thread adds a sheet's share to four neighbouring
// values; sheets come in their order, so the order of a sum is the image's.

struct Launch {
    // Words of `sums` that this launch makes.
    begin: u32,
    end: u32,
    // Words of a row.
    n_words: u32,
    first_row: u32,
    source_from: u32,
    source_end: u32,
    // Where the taps of row 0 stand.
    taps_at: u32,
}

@group(0) @binding(0) var<uniform> launch: Launch;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read> taps: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = launch.begin + group.x * 64u + thread;
    if i >= launch.end {
        return;
    }
    let tap = launch.taps_at + 3u * (launch.first_row + i / launch.n_words);
    let first = taps[tap];
    let begin = max(first, launch.source_from);
    let end = min(taps[tap + 1u], launch.source_end);
    if begin >= end {
        return;
    }
    var sum = vec4<f32>();
    if begin > first {
        sum = sums[i];
    }
    var word = (begin - launch.source_from) * launch.n_words + i % launch.n_words;
    let weights = taps[tap + 2u] - first;
    for (var y = begin; y < end; y++) {
        sum += bitcast<f32>(taps[weights + y]) * vec4<f32>(unpack4xU8(source[word]));
        word += launch.n_words;
    }
    sums[i] = sum;
}
