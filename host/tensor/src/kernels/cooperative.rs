//! Products of f16 by cooperative matrices, where an adapter has them: what a GPU's matrix
//! units compute. The sums are those of the tiles in [`super::contract`], in another order.

use super::Program;
use super::contract::Sizes;
use super::text::Text;

/// Rows and columns of a group's tile.
const TILE: u64 = 64;

/// Rows, columns and inner elements of one matrix.
const MATRIX: usize = 16;

/// Of the inner axis, at a time.
const TILE_INNER: usize = 32;

/// Subgroups of a group.
const SUBGROUPS: u64 = 4;

/// How an adapter's cooperative matrices are computed with: 16 by 16 by 16, f16 to f32, by a
/// subgroup of always the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cooperative {
    /// Threads of a subgroup.
    pub(crate) lanes: u32,
}

/// Bytes that the threads of a group share.
pub(crate) const SHARED_BYTES: u32 = 2 * (64 * 40 + 32 * 72) + 4 * 4 * 256;

/// Threads of a group.
pub(crate) fn n_threads(lanes: u32) -> u64 {
    SUBGROUPS * u64::from(lanes)
}

/// Whether a product gains by it: wide and deep enough to fill matrices, whatever its number
/// of rows, which a batch decides.
pub(super) fn fits(sizes: &Sizes) -> bool {
    let fills = |size: usize, least: usize| size >= least && size.is_multiple_of(MATRIX);
    fills(sizes.columns, TILE as usize) && fills(sizes.inner, TILE_INNER)
}

/// Ends a text that holds `load_a`, `load_b`, `place` and `start`; both operands are stored
/// as f16.
pub(super) fn program(mut text: Text<'_>, it: Cooperative, sizes: &Sizes) -> Program {
    text.enable("wgpu_cooperative_matrix");
    text.size("N_ROWS", sizes.rows as u64);
    text.size("N_COLUMNS", sizes.columns as u64);
    text.size("N_INNER", sizes.inner as u64);
    let (row_tiles, column_tiles) = (
        (sizes.rows as u64).div_ceil(TILE),
        (sizes.columns as u64).div_ceil(TILE),
    );
    text.size("N_ROW_TILES", row_tiles.max(1));
    text.size("N_COLUMN_TILES", column_tiles.max(1));
    text.size("LANES", it.lanes);
    sizes.write_order(&mut text);
    text.line(include_str!("cooperative.wgsl"));
    let n_groups = row_tiles
        .saturating_mul(column_tiles)
        .saturating_mul(sizes.batch as u64);
    let each = 2 * TILE * TILE;
    let operations = each.saturating_mul((sizes.inner as u64).max(1));
    text.program(n_groups, operations)
}

#[cfg(test)]
mod tests {
    use super::super::{Tools, program};
    use super::*;
    use crate::plan::{
        Axis, Body, Contract, Element, Function1, Map, Node, Place, Plan, Source, Step, Stored,
        Value, ValueId, View,
    };
    use wgpu::naga;

    fn axis(size: usize, a: i64, b: i64, out: i64, bias: i64) -> Axis {
        Axis {
            size,
            a,
            b,
            out,
            bias,
        }
    }

    /// `batch` products of `rows` by `columns` over `inner`: values 0 and 1, f16 unless
    /// `whole`, to value 3, with a bias of columns and a root after it.
    fn plan(batch: usize, rows: usize, columns: usize, inner: usize, whole: Option<usize>) -> Plan {
        let place = |at: usize| match at {
            1 | 2 => Place::Weight(at - 1),
            _ => Place::Arena(0),
        };
        let value = |at: usize, n_elements: usize| Value {
            element: Element::F32,
            stored: match whole == Some(at) || at == 2 {
                true => Stored::Whole,
                false => Stored::Half,
            },
            n_elements,
            place: place(at),
        };
        let [b, r, c, k] = [batch, rows, columns, inner].map(|size| size as i64);
        let view = |at: usize, n: usize| View::whole(ValueId(at), Element::F32, &[n]);
        let all = batch * rows * columns;
        let tail = Map {
            shape: vec![all],
            sources: vec![Source::Carried(Element::F32)],
            nodes: vec![
                (Node::Source(0), Element::F32),
                (Node::Apply(Function1::Sqrt, 0), Element::F32),
            ],
        };
        Plan {
            values: vec![
                value(0, batch * rows * inner),
                value(1, batch * columns * inner),
                value(2, columns),
                value(3, all),
            ],
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: vec![Step {
                name: "product".to_owned(),
                body: Body::Contract(Contract {
                    a: view(0, batch * rows * inner),
                    b: view(1, batch * columns * inner),
                    batch: vec![axis(batch, r * k, c * k, r * c, 0)],
                    rows: vec![axis(rows, k, 0, c, 0)],
                    // Transposed, and in two axes.
                    columns: vec![axis(columns / 2, 0, 2 * k, 2, 2), axis(2, 0, k, 1, 1)],
                    inner: vec![axis(inner, 1, 1, 0, 0)],
                    bias: Some(view(2, columns)),
                }),
                tail: Some(tail),
                output: ValueId(3),
            }],
            arena_bytes: b as u64,
        }
    }

    fn tools() -> Tools {
        Tools {
            cooperative: Some(Cooperative { lanes: 32 }),
        }
    }

    fn source(plan: &Plan, tools: &Tools) -> String {
        program(plan, &plan.steps[0], tools).source
    }

    fn is_cooperative(plan: &Plan) -> bool {
        source(plan, &tools()).contains("coopMultiplyAdd")
    }

    /// No machine of ours has them, so this is as far as a text is seen to go.
    #[test]
    fn its_text_is_valid_and_becomes_what_a_driver_is_given() {
        for (batch, rows, columns, inner) in [
            (1, 1, 64, 32),
            (1, 37, 80, 48),
            (3, 128, 1536, 384),
            (2, 65, 96, 4096),
        ] {
            let plan = plan(batch, rows, columns, inner, None);
            for lanes in [32, 64] {
                let cooperative = Some(Cooperative { lanes });
                let source = source(&plan, &Tools { cooperative });
                let module = naga::front::wgsl::parse_str(&source)
                    .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
                let mut validator = naga::valid::Validator::new(
                    naga::valid::ValidationFlags::all(),
                    naga::valid::Capabilities::COOPERATIVE_MATRIX
                        | naga::valid::Capabilities::SHADER_FLOAT16
                        | naga::valid::Capabilities::SUBGROUP,
                );
                validator
                    .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
                    .subgroup_operations(naga::valid::SubgroupOperationSet::all());
                let info = validator
                    .validate(&module)
                    .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&source)));
                let options = naga::back::spv::Options {
                    lang_version: (1, 3),
                    fake_missing_bindings: true,
                    ..naga::back::spv::Options::default()
                };
                let words = naga::back::spv::write_vec(&module, &info, &options, None).unwrap();
                // OpCooperativeMatrixMulAddKHR, four of them in the loop.
                assert_eq!(
                    words.iter().filter(|word| **word & 0xffff == 4459).count(),
                    4
                );
            }
        }
    }

    #[test]
    fn products_are_chosen_by_columns_and_depth_and_never_by_rows() {
        for rows in [1, 7, 64, 1000] {
            for batch in [1, 12] {
                assert!(
                    is_cooperative(&plan(batch, rows, 64, 32, None)),
                    "{rows} rows"
                );
                assert!(
                    !is_cooperative(&plan(batch, rows, 48, 32, None)),
                    "{rows} rows"
                );
            }
        }
        for (columns, inner) in [(72, 32), (64, 16), (64, 40), (2, 384)] {
            assert!(!is_cooperative(&plan(1, 64, columns, inner, None)));
        }
    }

    #[test]
    fn operands_that_are_not_stored_as_f16_are_multiplied_as_ever() {
        assert!(!is_cooperative(&plan(1, 64, 64, 32, Some(0))));
        assert!(!is_cooperative(&plan(1, 64, 64, 32, Some(1))));
        // What comes out is another matter.
        assert!(is_cooperative(&plan(1, 64, 64, 32, Some(3))));
        let without = Tools::default();
        assert!(!source(&plan(1, 64, 64, 32, None), &without).contains("coop"));
    }

    #[test]
    fn a_group_shares_no_more_than_every_adapter_has() {
        let source = source(&plan(1, 64, 64, 32, None), &tools());
        let module = naga::front::wgsl::parse_str(&source).unwrap();
        let shared = module.global_variables.iter().filter_map(|(_, variable)| {
            let is_shared = variable.space == naga::AddressSpace::WorkGroup;
            is_shared.then(|| module.types[variable.ty].inner.size(module.to_ctx()))
        });
        assert_eq!(shared.sum::<u32>(), SHARED_BYTES);
        const { assert!(SHARED_BYTES <= 16 << 10) }
    }
}
