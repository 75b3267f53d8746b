//! Batched products of matrices, by tiles.

use super::text::Text;
use super::{Program, Tools, cooperative};
use crate::plan::view::count;
use crate::plan::{Axis, Contract};

/// How a product is divided. All divisions sum in the same order, so a tile is a matter
/// of speed alone; yet none is chosen by the number of rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) rows: u64,
    pub(super) columns: u64,
    pub(super) inner: u64,
    /// Rows and columns of one thread.
    pub(super) per_thread: [u64; 2],
}

impl Tile {
    /// For the narrower of a product's sides that do not grow with the batch.
    pub(super) fn of(narrow: usize) -> Self {
        match narrow {
            0..=8 => Self {
                rows: 64,
                columns: 8,
                inner: 16,
                per_thread: [4, 1],
            },
            9..=24 => Self {
                rows: 64,
                columns: 16,
                inner: 16,
                per_thread: [4, 2],
            },
            25..=96 => Self {
                rows: 64,
                columns: 64,
                inner: 16,
                per_thread: [4, 4],
            },
            _ => Self {
                rows: 128,
                columns: 128,
                inner: 8,
                per_thread: [8, 8],
            },
        }
    }

    /// The same with rows and columns exchanged.
    pub(super) fn turned(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            per_thread: [self.per_thread[1], self.per_thread[0]],
            ..self
        }
    }

    fn n_threads(self) -> u64 {
        self.rows / self.per_thread[0] * (self.columns / self.per_thread[1])
    }
}

pub(super) fn program(mut text: Text<'_>, it: &Contract, tools: &Tools) -> Program {
    let n = |axes: &[Axis]| count(axes.iter().map(|axis| axis.size));
    for (name, axes) in [
        ("batch", &it.batch),
        ("rows", &it.rows),
        ("columns", &it.columns),
        ("inner", &it.inner),
    ] {
        let shape: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
        let strides = |of: fn(&Axis) -> i64| axes.iter().map(of).collect::<Vec<_>>();
        text.offsets(&format!("a_{name}"), &shape, &strides(|axis| axis.a), 0);
        text.offsets(&format!("b_{name}"), &shape, &strides(|axis| axis.b), 0);
        text.offsets(&format!("out_{name}"), &shape, &strides(|axis| axis.out), 0);
    }
    text.element("a_element", &it.a);
    text.element("b_element", &it.b);
    text.stride("A_FIRST", it.a.offset);
    text.stride("B_FIRST", it.b.offset);
    text.line(
        "fn load_a(batch: u32, row: u32, inner: u32) -> f32 {\n\
         \x20   return a_element(A_FIRST + a_batch(batch) + a_rows(row) + a_inner(inner));\n}\n\
         fn load_b(batch: u32, inner: u32, column: u32) -> f32 {\n\
         \x20   return b_element(B_FIRST + b_batch(batch) + b_inner(inner) + b_columns(column));\n}\n\
         fn place(batch: u32, row: u32, column: u32) -> u32 {\n\
         \x20   return u32(out_batch(batch) + out_rows(row) + out_columns(column));\n}",
    );
    start(&mut text, it);
    let near = |axes: &[Axis], of: fn(&Axis) -> i64| {
        let strides = axes.iter().filter(|axis| axis.size > 1).map(of);
        strides
            .map(i64::abs)
            .filter(|&stride| stride > 0)
            .min()
            .unwrap_or(i64::MAX)
    };
    let sizes = Sizes {
        batch: n(&it.batch),
        rows: n(&it.rows),
        columns: n(&it.columns),
        inner: n(&it.inner),
        a_along_inner: near(&it.inner, |axis| axis.a) < near(&it.rows, |axis| axis.a),
        b_along_inner: near(&it.inner, |axis| axis.b) < near(&it.columns, |axis| axis.b),
    };
    let is_half = text.is_half(&it.a) && text.is_half(&it.b);
    match tools.cooperative {
        Some(matrices) if is_half && cooperative::fits(&sizes) => {
            cooperative::program(text, matrices, &sizes)
        }
        _ => tiled(text, Tile::of(sizes.columns), &sizes),
    }
}

/// Declares where the sum of a place of the output begins.
fn start(text: &mut Text<'_>, it: &Contract) {
    let Some(bias) = &it.bias else {
        return text.line("fn start(batch: u32, row: u32, column: u32) -> f32 { return 0.0; }");
    };
    for (name, axes) in [
        ("bias_batch", &it.batch),
        ("bias_rows", &it.rows),
        ("bias_columns", &it.columns),
    ] {
        let shape: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
        let strides: Vec<i64> = axes.iter().map(|axis| axis.bias).collect();
        text.offsets(name, &shape, &strides, 0);
    }
    text.element("bias_element", bias);
    text.stride("BIAS_FIRST", bias.offset);
    text.line(
        "fn start(batch: u32, row: u32, column: u32) -> f32 {\n\
         \x20   return bias_element(BIAS_FIRST + bias_batch(batch) + bias_rows(row)\n\
         \x20       + bias_columns(column));\n}",
    );
}

/// What the tile's shader is told.
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) inner: usize,
    /// Whether neighbours of `a` lie along the inner axis; so they are loaded together.
    pub(super) a_along_inner: bool,
    pub(super) b_along_inner: bool,
}

impl Sizes {
    /// Declares in which order operands are loaded.
    pub(super) fn write_order(&self, text: &mut Text<'_>) {
        for (operand, along) in [("A", self.a_along_inner), ("B", self.b_along_inner)] {
            text.line(format_args!("const {operand}_ALONG_INNER: bool = {along};"));
        }
    }
}

/// Ends a text that holds `load_a`, `load_b`, `place` and `start`.
pub(super) fn tiled(mut text: Text<'_>, tile: Tile, sizes: &Sizes) -> Program {
    text.size("N_ROWS", sizes.rows as u64);
    text.size("N_COLUMNS", sizes.columns as u64);
    text.size("N_INNER", sizes.inner as u64);
    text.size("TILE_ROWS", tile.rows);
    text.size("TILE_COLUMNS", tile.columns);
    text.size("TILE_INNER", tile.inner);
    text.size("THREAD_ROWS", tile.per_thread[0]);
    text.size("THREAD_COLUMNS", tile.per_thread[1]);
    text.size("N_THREADS", tile.n_threads());
    let (row_tiles, column_tiles) = (
        (sizes.rows as u64).div_ceil(tile.rows),
        (sizes.columns as u64).div_ceil(tile.columns),
    );
    text.size("N_ROW_TILES", row_tiles.max(1));
    text.size("N_COLUMN_TILES", column_tiles.max(1));
    sizes.write_order(&mut text);
    text.line(include_str!("contract.wgsl"));
    let n_groups = row_tiles
        .saturating_mul(column_tiles)
        .saturating_mul(sizes.batch as u64);
    let each = 2 * tile.rows * tile.columns;
    let operations = each.saturating_mul((sizes.inner as u64).max(1));
    text.program(n_groups, operations)
}
