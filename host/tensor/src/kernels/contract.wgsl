// A tile of a product per group. Above: the sizes of the product, the tile and a thread's
// share; `load_a(batch, row, inner)`, `load_b(batch, inner, column)` within the sizes;
// `start(batch, row, column)`, where a sum begins; `place(batch, row, column)` in the output;
// `store(i, it)`.
//
// A sum runs over the inner axis in order, in one register, whatever the tile.

var<workgroup> a_tile: array<f32, TILE_ROWS * TILE_INNER>;
var<workgroup> b_tile: array<f32, TILE_COLUMNS * TILE_INNER>;

@compute @workgroup_size(N_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let number = part.x + group.x;
    let first_column = number % N_COLUMN_TILES * TILE_COLUMNS;
    let first_row = number / N_COLUMN_TILES % N_ROW_TILES * TILE_ROWS;
    let batch = number / (N_COLUMN_TILES * N_ROW_TILES);
    let own_row = thread / (TILE_COLUMNS / THREAD_COLUMNS) * THREAD_ROWS;
    let own_column = thread % (TILE_COLUMNS / THREAD_COLUMNS) * THREAD_COLUMNS;

    var sums: array<f32, THREAD_ROWS * THREAD_COLUMNS>;
    for (var row = 0u; row < THREAD_ROWS; row++) {
        let at_row = min(first_row + own_row + row, N_ROWS - 1u);
        for (var column = 0u; column < THREAD_COLUMNS; column++) {
            let at_column = min(first_column + own_column + column, N_COLUMNS - 1u);
            sums[row * THREAD_COLUMNS + column] = start(batch, at_row, at_column);
        }
    }
    for (var first = 0u; first < N_INNER; first += TILE_INNER) {
        for (var at = thread; at < TILE_ROWS * TILE_INNER; at += N_THREADS) {
            var row = at % TILE_ROWS;
            var inner = at / TILE_ROWS;
            if A_ALONG_INNER {
                row = at / TILE_INNER;
                inner = at % TILE_INNER;
            }
            var x = 0.0;
            if first_row + row < N_ROWS && first + inner < N_INNER {
                x = load_a(batch, first_row + row, first + inner);
            }
            a_tile[inner * TILE_ROWS + row] = x;
        }
        for (var at = thread; at < TILE_COLUMNS * TILE_INNER; at += N_THREADS) {
            var column = at % TILE_COLUMNS;
            var inner = at / TILE_COLUMNS;
            if B_ALONG_INNER {
                column = at / TILE_INNER;
                inner = at % TILE_INNER;
            }
            var x = 0.0;
            if first_column + column < N_COLUMNS && first + inner < N_INNER {
                x = load_b(batch, first + inner, first_column + column);
            }
            b_tile[inner * TILE_COLUMNS + column] = x;
        }
        workgroupBarrier();
        // A thread without a row has nothing to sum: one row of many does not cost a tile.
        if first_row + own_row < N_ROWS {
            for (var inner = 0u; inner < TILE_INNER; inner++) {
                var a: array<f32, THREAD_ROWS>;
                for (var row = 0u; row < THREAD_ROWS; row++) {
                    a[row] = a_tile[inner * TILE_ROWS + own_row + row];
                }
                for (var column = 0u; column < THREAD_COLUMNS; column++) {
                    let b = b_tile[inner * TILE_COLUMNS + own_column + column];
                    for (var row = 0u; row < THREAD_ROWS; row++) {
                        let at = row * THREAD_COLUMNS + column;
                        sums[at] = fma(a[row], b, sums[at]);
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var row = 0u; row < THREAD_ROWS; row++) {
        for (var column = 0u; column < THREAD_COLUMNS; column++) {
            let at_row = first_row + own_row + row;
            let at_column = first_column + own_column + column;
            if at_row < N_ROWS && at_column < N_COLUMNS {
                store(place(batch, at_row, at_column), sums[row * THREAD_COLUMNS + column]);
            }
        }
    }
}
