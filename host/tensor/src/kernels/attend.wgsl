// A tile of queries per group, over all keys in turn. Above: the sizes; `q(at)`, `k(at)`,
// `v(at)`, elements f32 at an offset, whose first are Q_FIRST, K_FIRST and V_FIRST; for each
// axis its offset in what it walks through, `q_rows(i)` and so on; `score(i, it)`, what
// becomes of a product at the `i`th place of the scores `[batch, rows, keys]`;
// `store(i, it)`. FAR bounds a score.
//
// 64 threads stand in 8 by 8: a thread has four queries and four keys of a tile, then the
// same four queries and its share of the features. A score that is hidden is far below all
// others, so it counts as e to the power of -1000, which is 0; where all are, all count
// alike.

var<workgroup> q_tile: array<f32, TILE * CHUNK>;
var<workgroup> k_tile: array<f32, TILE * CHUNK>;
var<workgroup> v_tile: array<f32, VALUES * FEATURE_TILE>;
var<workgroup> weights: array<f32, TILE * TILE>;
var<workgroup> most: array<f32, TILE>;
var<workgroup> sums: array<f32, TILE>;
var<workgroup> kept: array<f32, TILE>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let number = part.x + group.x;
    let first_feature = number % N_FEATURE_TILES * FEATURE_TILE;
    let first_row = number / N_FEATURE_TILES % N_ROW_TILES * TILE;
    let batch = number / (N_FEATURE_TILES * N_ROW_TILES);
    let own_row = thread / 8u * 4u;
    let own_key = thread % 8u * 4u;
    let own_feature = thread % 8u * THREAD_FEATURES;
    let is_at_work = first_row + own_row < N_ROWS;
    let q_first = Q_FIRST + q_batch(batch);
    let k_first = K_FIRST + k_batch(batch);
    let v_first = V_FIRST + v_batch(batch);
    let score_first = score_batch(batch);

    if thread < TILE {
        most[thread] = -FAR;
        sums[thread] = 0.0;
    }
    var made: array<f32, 4u * THREAD_FEATURES>;
    for (var at = 0u; at < 4u * THREAD_FEATURES; at++) {
        made[at] = 0.0;
    }
    for (var first_key = 0u; first_key < N_KEYS; first_key += TILE) {
        var products: array<f32, 16>;
        for (var at = 0u; at < 16u; at++) {
            products[at] = 0.0;
        }
        for (var first = 0u; first < N_DEPTH; first += CHUNK) {
            for (var at = thread; at < TILE * CHUNK; at += 64u) {
                let depth = first + at % CHUNK;
                let row = first_row + at / CHUNK;
                let key = first_key + at / CHUNK;
                var from_q = 0.0;
                var from_k = 0.0;
                if depth < N_DEPTH && row < N_ROWS {
                    from_q = q(q_first + q_rows(row) + q_depth(depth));
                }
                if depth < N_DEPTH && key < N_KEYS {
                    from_k = k(k_first + k_keys(key) + k_depth(depth));
                }
                q_tile[at % CHUNK * TILE + at / CHUNK] = from_q;
                k_tile[at % CHUNK * TILE + at / CHUNK] = from_k;
            }
            workgroupBarrier();
            if is_at_work {
                for (var inner = 0u; inner < CHUNK; inner++) {
                    for (var row = 0u; row < 4u; row++) {
                        let a = q_tile[inner * TILE + own_row + row];
                        for (var key = 0u; key < 4u; key++) {
                            let b = k_tile[inner * TILE + own_key + key];
                            products[row * 4u + key] = fma(a, b, products[row * 4u + key]);
                        }
                    }
                }
            }
            workgroupBarrier();
        }
        for (var at = 0u; at < 16u; at++) {
            let row = first_row + own_row + at / 4u;
            let key = first_key + own_key + at % 4u;
            var it = -FAR;
            if row < N_ROWS && key < N_KEYS {
                let place = u32(score_first + score_rows(row) + score_keys(key));
                it = clamp(score(place, products[at]), -FAR, FAR);
            }
            weights[(own_row + at / 4u) * TILE + own_key + at % 4u] = it;
        }
        workgroupBarrier();
        let n_keys = min(TILE, N_KEYS - first_key);
        if thread < TILE {
            let before = most[thread];
            var largest = before;
            for (var key = 0u; key < n_keys; key++) {
                largest = max(largest, weights[thread * TILE + key]);
            }
            var sum = 0.0;
            for (var key = 0u; key < TILE; key++) {
                var weight = 0.0;
                if key < n_keys {
                    weight = exp(max(weights[thread * TILE + key] - largest, -1000.0));
                }
                weights[thread * TILE + key] = weight;
                sum += weight;
            }
            let share = exp(max(before - largest, -1000.0));
            most[thread] = largest;
            kept[thread] = share;
            sums[thread] = fma(sums[thread], share, sum);
        }
        workgroupBarrier();
        for (var at = 0u; at < 4u * THREAD_FEATURES; at++) {
            made[at] *= kept[own_row + at / THREAD_FEATURES];
        }
        for (var first = 0u; first < n_keys; first += VALUES) {
            for (var at = thread; at < VALUES * FEATURE_TILE; at += 64u) {
                let key = first_key + first + at / FEATURE_TILE;
                let feature = first_feature + at % FEATURE_TILE;
                var it = 0.0;
                if key < N_KEYS && feature < N_FEATURES {
                    it = v(v_first + v_keys(key) + v_features(feature));
                }
                v_tile[at] = it;
            }
            workgroupBarrier();
            if is_at_work {
                for (var key = 0u; key < VALUES; key++) {
                    var by: array<f32, 4>;
                    for (var row = 0u; row < 4u; row++) {
                        by[row] = weights[(own_row + row) * TILE + first + key];
                    }
                    for (var feature = 0u; feature < THREAD_FEATURES; feature++) {
                        let it = v_tile[key * FEATURE_TILE + own_feature + feature];
                        for (var row = 0u; row < 4u; row++) {
                            let at = row * THREAD_FEATURES + feature;
                            made[at] = fma(by[row], it, made[at]);
                        }
                    }
                }
            }
            workgroupBarrier();
        }
    }
    for (var row = 0u; row < 4u; row++) {
        for (var feature = 0u; feature < THREAD_FEATURES; feature++) {
            let at_row = first_row + own_row + row;
            let at_feature = first_feature + own_feature + feature;
            if at_row < N_ROWS && at_feature < N_FEATURES {
                let place = out_batch(batch) + out_rows(at_row) + out_features(at_feature);
                let it = made[row * THREAD_FEATURES + feature] / sums[own_row + row];
                store(u32(place), it);
            }
        }
    }
}
