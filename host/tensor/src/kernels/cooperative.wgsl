// A tile of 64 by 64 of a product per group, by matrices of 16 by 16 that the threads of a
// subgroup hold together: f16 operands, f32 sums. Above: the sizes of the product; LANES, the
// threads of a subgroup; `load_a`, `load_b`, `start`, `place` and `store` as for `contract.wgsl`.
//
// Four subgroups stand in 2 by 2 and make 32 by 32 each. What is beyond an edge is zero in
// the operands, and not stored. Operands were stored as f16, so they go through memory as
// they are; sums go through it 16 by 16, where `start` and `store` meet them by their places.

const N_THREADS: u32 = 4u * LANES;
const TILE: u32 = 64u;
const TILE_INNER: u32 = 32u;
// A little apart, so that rows lie in different banks; each begins at 16 bytes.
const A_STRIDE: u32 = 40u;
const B_STRIDE: u32 = 72u;

// `[row, inner]`, `[inner, column]`, and `[subgroup, row, column]`.
var<workgroup> a_tile: array<f16, TILE * A_STRIDE>;
var<workgroup> b_tile: array<f16, TILE_INNER * B_STRIDE>;
var<workgroup> passed: array<f32, 4u * 256u>;

// Where the sums of a subgroup's matrix begin, whose first place is given.
fn give(subgroup: u32, lane: u32, batch: u32, first_row: u32, first_column: u32) {
    for (var at = lane; at < 256u; at += LANES) {
        let row = min(first_row + at / 16u, N_ROWS - 1u);
        let column = min(first_column + at % 16u, N_COLUMNS - 1u);
        passed[subgroup * 256u + at] = start(batch, row, column);
    }
}

fn take(subgroup: u32, lane: u32, batch: u32, first_row: u32, first_column: u32) {
    for (var at = lane; at < 256u; at += LANES) {
        let row = first_row + at / 16u;
        let column = first_column + at % 16u;
        if row < N_ROWS && column < N_COLUMNS {
            store(place(batch, row, column), passed[subgroup * 256u + at]);
        }
    }
}

@compute @workgroup_size(N_THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup_id: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // There are four; what a driver says decides no address beyond them.
    let subgroup = min(subgroup_id, 3u);
    let number = part.x + group.x;
    let first_column = number % N_COLUMN_TILES * TILE;
    let first_row = number / N_COLUMN_TILES % N_ROW_TILES * TILE;
    let batch = number / (N_COLUMN_TILES * N_ROW_TILES);
    let own_row = subgroup / 2u * 32u;
    let own_column = subgroup % 2u * 32u;
    let row = first_row + own_row;
    let column = first_column + own_column;
    let own = subgroup * 256u;

    give(subgroup, lane, batch, row, column);
    workgroupBarrier();
    var sums_00 = coopLoadT<coop_mat16x16<f32, C>>(&passed[own], 16u);
    workgroupBarrier();
    give(subgroup, lane, batch, row, column + 16u);
    workgroupBarrier();
    var sums_01 = coopLoadT<coop_mat16x16<f32, C>>(&passed[own], 16u);
    workgroupBarrier();
    give(subgroup, lane, batch, row + 16u, column);
    workgroupBarrier();
    var sums_10 = coopLoadT<coop_mat16x16<f32, C>>(&passed[own], 16u);
    workgroupBarrier();
    give(subgroup, lane, batch, row + 16u, column + 16u);
    workgroupBarrier();
    var sums_11 = coopLoadT<coop_mat16x16<f32, C>>(&passed[own], 16u);

    for (var first = 0u; first < N_INNER; first += TILE_INNER) {
        for (var at = thread; at < TILE * TILE_INNER; at += N_THREADS) {
            var at_row = at % TILE;
            var inner = at / TILE;
            if A_ALONG_INNER {
                at_row = at / TILE_INNER;
                inner = at % TILE_INNER;
            }
            var x = 0.0;
            if first_row + at_row < N_ROWS && first + inner < N_INNER {
                x = load_a(batch, first_row + at_row, first + inner);
            }
            a_tile[at_row * A_STRIDE + inner] = f16(x);
        }
        for (var at = thread; at < TILE * TILE_INNER; at += N_THREADS) {
            var at_column = at % TILE;
            var inner = at / TILE;
            if B_ALONG_INNER {
                at_column = at / TILE_INNER;
                inner = at % TILE_INNER;
            }
            var x = 0.0;
            if first_column + at_column < N_COLUMNS && first + inner < N_INNER {
                x = load_b(batch, first + inner, first_column + at_column);
            }
            b_tile[inner * B_STRIDE + at_column] = f16(x);
        }
        workgroupBarrier();
        for (var k = 0u; k < TILE_INNER; k += 16u) {
            let a_0 = coopLoadT<coop_mat16x16<f16, A>>(&a_tile[own_row * A_STRIDE + k], A_STRIDE);
            let a_1 =
                coopLoadT<coop_mat16x16<f16, A>>(&a_tile[(own_row + 16u) * A_STRIDE + k], A_STRIDE);
            let b_0 =
                coopLoadT<coop_mat16x16<f16, B>>(&b_tile[k * B_STRIDE + own_column], B_STRIDE);
            let b_1 =
                coopLoadT<coop_mat16x16<f16, B>>(&b_tile[k * B_STRIDE + own_column + 16u], B_STRIDE);
            sums_00 = coopMultiplyAdd(a_0, b_0, sums_00);
            sums_01 = coopMultiplyAdd(a_0, b_1, sums_01);
            sums_10 = coopMultiplyAdd(a_1, b_0, sums_10);
            sums_11 = coopMultiplyAdd(a_1, b_1, sums_11);
        }
        workgroupBarrier();
    }

    coopStoreT(sums_00, &passed[own], 16u);
    workgroupBarrier();
    take(subgroup, lane, batch, row, column);
    workgroupBarrier();
    coopStoreT(sums_01, &passed[own], 16u);
    workgroupBarrier();
    take(subgroup, lane, batch, row, column + 16u);
    workgroupBarrier();
    coopStoreT(sums_10, &passed[own], 16u);
    workgroupBarrier();
    take(subgroup, lane, batch, row + 16u, column);
    workgroupBarrier();
    coopStoreT(sums_11, &passed[own], 16u);
    workgroupBarrier();
    take(subgroup, lane, batch, row + 16u, column + 16u);
}
