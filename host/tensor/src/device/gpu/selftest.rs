//! Cooperative matrices, held to the plain kernel when an adapter is opened: they are
//! experimental in every layer below, and nobody is to be answered by a driver's mistake.
//!
//! One product of awkward sizes and drawn numbers is made both ways. Both sum the same
//! products of f16 in f32, in other orders.

use std::sync::mpsc;

use super::GpuOptions;
use super::live::{Ending, Live};
use super::prepared::Prepared;
use super::storage::read_mapped;
use crate::kernels::{self, Cooperative, Program, Tools};
use crate::plan::{
    Axis, Body, Contract, Element, Place, Plan, Step, Stored, Value, ValueId, View, Weight, halved,
};

/// No size but the columns' is of whole tiles, and those are of one and a quarter.
const BATCH: usize = 2;
const ROWS: usize = 69;
const COLUMNS: usize = 80;
const INNER: usize = 112;

/// How far a sum may be from the other, as a share of the sizes of all that is summed. f32
/// keeps 24 bits, and a hundred additions in any order, even cut off instead of rounded, lose
/// less than seven of them; one element left out or taken twice is a hundred times as much.
const MOST_APART: f64 = 1.0 / 65_536.0;

/// Whether an adapter's cooperative matrices say what the plain kernel says; else what is
/// wrong. Blocking.
pub(super) fn held(live: &Live, options: &GpuOptions, it: Cooperative) -> Result<(), String> {
    let product = Product::drawn();
    let tools = Tools {
        cooperative: Some(it),
    };
    let candidate = product.program(&tools);
    product.judged(live, options, candidate)
}

/// Numbers of f16, kept as f32: `a` `[inner, batch, row]`, `b` `[batch, column, inner]`.
struct Product {
    a: Vec<f32>,
    b: Vec<f32>,
    bias: Vec<f32>,
}

impl Product {
    fn drawn() -> Self {
        // Knuth's MMIX generator; the high bits are the good ones. Eleven of them are what
        // f16 holds.
        let mut state = 0x7c0f_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 53) as f32 / 1024.0 - 1.0
        };
        let mut drawn = |n: usize| (0..n).map(|_| next()).collect();
        Self {
            a: drawn(INNER * BATCH * ROWS),
            b: drawn(BATCH * COLUMNS * INNER),
            bias: drawn(COLUMNS),
        }
    }

    /// One step; its operands and bias are weights, since nothing else brings f16 in.
    fn plan(&self) -> Plan {
        let bytes = |of: &[f32]| -> Vec<u8> { of.iter().flat_map(|x| x.to_le_bytes()).collect() };
        let half = |of: &[f32]| Weight {
            bytes: halved(&bytes(of)).expect("they were drawn to fit"),
        };
        let value = |at: usize, stored: Stored, n_elements: usize| Value {
            element: Element::F32,
            stored,
            n_elements,
            place: match at {
                3 => Place::Arena(0),
                weight => Place::Weight(weight),
            },
        };
        let view = |at: usize, of: &[f32]| View::whole(ValueId(at), Element::F32, &[of.len()]);
        let axis = |size: usize, [a, b, out, bias]: [usize; 4]| Axis {
            size,
            a: a as i64,
            b: b as i64,
            out: out as i64,
            bias: bias as i64,
        };
        let body = Contract {
            a: view(0, &self.a),
            b: view(1, &self.b),
            batch: vec![axis(BATCH, [ROWS, COLUMNS * INNER, ROWS * COLUMNS, 0])],
            rows: vec![axis(ROWS, [1, 0, COLUMNS, 0])],
            columns: vec![axis(COLUMNS, [0, INNER, 1, 1])],
            inner: vec![axis(INNER, [BATCH * ROWS, 1, 0, 0])],
            bias: Some(view(2, &self.bias)),
        };
        let made = value(3, Stored::Whole, BATCH * ROWS * COLUMNS);
        Plan {
            arena_bytes: made.n_bytes(),
            values: vec![
                value(0, Stored::Half, self.a.len()),
                value(1, Stored::Half, self.b.len()),
                value(2, Stored::Whole, self.bias.len()),
                made,
            ],
            weights: vec![
                half(&self.a),
                half(&self.b),
                Weight {
                    bytes: bytes(&self.bias).into(),
                },
            ],
            inputs: Vec::new(),
            outputs: Vec::new(),
            steps: vec![Step {
                name: "the self-test of cooperative matrices".to_owned(),
                body: Body::Contract(body),
                tail: None,
                output: ValueId(3),
            }],
        }
    }

    fn program(&self, tools: &Tools) -> Program {
        let plan = self.plan();
        kernels::program(&plan, &plan.steps[0], tools)
    }

    /// Holds what `candidate` makes to what the plain kernel makes.
    fn judged(&self, live: &Live, options: &GpuOptions, candidate: Program) -> Result<(), String> {
        let given = self.made(live, options, candidate)?;
        let right = self.made(live, options, self.program(&Tools::default()))?;
        for (at, (given, right)) in given.iter().zip(&right).enumerate() {
            let apart = (f64::from(*given) - f64::from(*right)).abs();
            // Written so that what is no number is too far.
            let is_near = apart <= MOST_APART * self.size_of_sum(at);
            if !is_near {
                let (column, row) = (at % COLUMNS, at / COLUMNS % ROWS);
                return Err(format!(
                    "product {}, row {row}, column {column} came to {given}, the plain kernel's to {right}",
                    at / (ROWS * COLUMNS)
                ));
            }
        }
        Ok(())
    }

    /// The sizes of all that the `at`th sum is made of.
    fn size_of_sum(&self, at: usize) -> f64 {
        let (column, row, batch) = (at % COLUMNS, at / COLUMNS % ROWS, at / (ROWS * COLUMNS));
        let products = (0..INNER).map(|inner| {
            let a = self.a[inner * BATCH * ROWS + batch * ROWS + row];
            let b = self.b[(batch * COLUMNS + column) * INNER + inner];
            f64::from(a * b).abs()
        });
        products.sum::<f64>() + f64::from(self.bias[column]).abs()
    }

    fn made(
        &self,
        live: &Live,
        options: &GpuOptions,
        program: Program,
    ) -> Result<Vec<f32>, String> {
        let plan = self.plan();
        // Found here first, where a driver's refusal is no kernel of a model.
        let compiled = live.pipelines.tried(&plan, &program);
        let _compiled =
            compiled.map_err(|error| format!("the driver refuses the kernel: {error}"))?;
        let (n_bytes, output) = (plan.arena_bytes, plan.steps[0].output);
        let prepared = Prepared::of_programs(live, plan, vec![(output, program)], options);
        let prepared = prepared.map_err(|refusal| refusal.to_string())?;
        let staging = live.memory.staging(n_bytes).ok_or("there is no memory")?;
        let mut commands = live
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        // Else what the other kernel made would stand there for what this one leaves out.
        commands.clear_buffer(&prepared.arena, 0, Some(n_bytes));
        prepared.encode(&mut commands);
        commands.copy_buffer_to_buffer(&prepared.arena, 0, &staging, 0, n_bytes);
        let commands = commands.finish();
        commands.map_buffer_on_submit(&staging, wgpu::MapMode::Read, 0..n_bytes, |_| {});
        let (tell, told) = mpsc::sync_channel(1);
        let done = move |ending: Ending| {
            let is_done = ending == Ending::Done;
            let bytes = is_done.then(|| read_mapped(&staging, n_bytes as usize));
            // Whoever asked waits for it.
            let _ = tell.send(bytes.flatten().ok_or(ending));
        };
        live.submit(commands, Box::new(done));
        let bytes = told.recv().map_err(|_| "nobody waited for it")?;
        let bytes = bytes.map_err(|ending| format!("the GPU did not finish it: {ending:?}"))?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{AdapterChoice, TensorError};

    /// Whatever adapter there is; none, where there is none and none is required.
    fn opened(options: &GpuOptions) -> Option<Live> {
        match Live::open(options, &Arc::default()) {
            Ok(live) => Some(live),
            Err(error @ TensorError::NoAdapter { .. }) => {
                let required = std::env::var_os("TROMMEL_GPU_REQUIRED").is_some();
                assert!(!required, "TROMMEL_GPU_REQUIRED is set: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn options() -> GpuOptions {
        GpuOptions {
            adapter: AdapterChoice::Any,
            cooperative: false,
            ..GpuOptions::default()
        }
    }

    /// What is said of the plain kernel when it is changed so.
    fn judged(change: impl Fn(&mut Program)) -> Option<Result<(), String>> {
        let options = options();
        let live = opened(&options)?;
        if !live.stores_halves(&options) {
            return None;
        }
        let product = Product::drawn();
        let mut candidate = product.program(&Tools::default());
        change(&mut candidate);
        let judged = product.judged(&live, &options, candidate);
        assert_eq!(live.pipelines.n_refused(), 0);
        live.close();
        Some(judged)
    }

    fn changed(from: &'static str, to: &'static str) -> Option<Result<(), String>> {
        judged(move |program| {
            assert!(program.source.contains(from), "{}", program.source);
            program.source = program.source.replace(from, to);
        })
    }

    #[test]
    fn a_kernel_that_sums_the_same_is_taken() {
        assert!(matches!(judged(|_| {}), None | Some(Ok(()))));
        // From the end on.
        let turned = judged(|program| {
            for (from, to) in [
                ("row: u32, inner: u32)", "row: u32, at: u32)"),
                (
                    "fn load_b(batch: u32, inner: u32,",
                    "fn load_b(batch: u32, at: u32,",
                ),
                ("_inner(inner)", "_inner(N_INNER - 1u - at)"),
            ] {
                assert!(program.source.contains(from), "{}", program.source);
                program.source = program.source.replace(from, to);
            }
        });
        assert!(matches!(turned, None | Some(Ok(()))), "{turned:?}");
    }

    /// The kernel of cooperative matrices with each thread of a subgroup holding some of the
    /// sums, operands read where they lie, and subgroups counted instead of told: what any
    /// adapter of f16 can run.
    fn emulated(source: &str) -> String {
        let mut emulated = format!("{source}{EMULATION}");
        for (from, to) in [
            ("enable wgpu_cooperative_matrix;", ""),
            ("@builtin(subgroup_id) subgroup_id: u32,", ""),
            ("@builtin(subgroup_invocation_id) lane: u32,", ""),
            (
                "let subgroup = min(subgroup_id, 3u);",
                "let subgroup = thread / LANES; let lane = thread % LANES; own_lane = lane;",
            ),
            ("coopLoadT<coop_mat16x16<f16, A>>(&a_tile[", "load_left(("),
            ("coopLoadT<coop_mat16x16<f16, B>>(&b_tile[", "load_right(("),
            ("coopLoadT<coop_mat16x16<f32, C>>(&passed[", "load_sums(("),
            (", &passed[own],", ", own,"),
            ("], A_STRIDE)", "), A_STRIDE)"),
            ("], B_STRIDE)", "), B_STRIDE)"),
            ("load_sums((own], 16u)", "load_sums(own, 16u)"),
        ] {
            assert!(emulated.contains(from), "{from}");
            emulated = emulated.replace(from, to);
        }
        emulated
    }

    /// For subgroups of 64. Without arrays or many sums a thread, which a driver in software
    /// takes minutes to compile.
    const EMULATION: &str = "
var<private> own_lane: u32;
fn load_left(first: u32, stride: u32) -> vec2<u32> {
    return vec2(first, stride);
}
fn load_right(first: u32, stride: u32) -> vec2<u32> {
    return vec2(first, stride);
}
fn own_at(which: u32, first: u32, stride: u32) -> u32 {
    return first + (own_lane / 16u + which * 4u) * stride + own_lane % 16u;
}
fn load_sums(first: u32, stride: u32) -> vec4<f32> {
    return vec4(
        passed[own_at(0u, first, stride)],
        passed[own_at(1u, first, stride)],
        passed[own_at(2u, first, stride)],
        passed[own_at(3u, first, stride)],
    );
}
fn coopMultiplyAdd(a: vec2<u32>, b: vec2<u32>, c: vec4<f32>) -> vec4<f32> {
    var made = c;
    let row = a.x + own_lane / 16u * a.y;
    let column = b.x + own_lane % 16u;
    for (var k = 0u; k < 16u; k++) {
        let left = vec4(
            f32(a_tile[row + k]),
            f32(a_tile[row + 4u * a.y + k]),
            f32(a_tile[row + 8u * a.y + k]),
            f32(a_tile[row + 12u * a.y + k]),
        );
        made = fma(left, vec4(f32(b_tile[column + k * b.y])), made);
    }
    return made;
}
fn coopStoreT(it: vec4<f32>, first: u32, stride: u32) {
    passed[own_at(0u, first, stride)] = it.x;
    passed[own_at(1u, first, stride)] = it.y;
    passed[own_at(2u, first, stride)] = it.z;
    passed[own_at(3u, first, stride)] = it.w;
}
";

    /// All of the kernel but the matrices themselves: what is staged, where sums begin, edges.
    #[test]
    fn the_kernel_of_cooperative_matrices_makes_the_product_where_matrices_are_emulated() {
        let tools = Tools {
            cooperative: Some(Cooperative { lanes: 64 }),
        };
        let cooperative = Product::drawn().program(&tools);
        let judged = judged(|program| {
            program.n_groups = cooperative.n_groups;
            program.source = emulated(&cooperative.source);
        });
        assert!(matches!(judged, None | Some(Ok(()))), "{judged:?}");
    }

    #[test]
    fn a_kernel_that_is_wrong_anywhere_is_not_taken() {
        for (from, to) in [
            // The last part of the inner axis is left out.
            ("first < N_INNER;", "first + TILE_INNER < N_INNER;"),
            // The bias is.
            (
                "sums[row * THREAD_COLUMNS + column] = start(batch, at_row, at_column);",
                "",
            ),
            // Nothing is stored where rows end.
            ("if at_row < N_ROWS &&", "if at_row < N_ROWS - 1u &&"),
            // Two columns are one.
            ("b_columns(column));", "b_columns(column / 2u));"),
            // A row is stored where another is.
            (
                "fn place(batch: u32, row: u32, column: u32) -> u32 {",
                "fn place(batch: u32, row: u32, column: u32) -> u32 { if row == 5u { return 0u; }",
            ),
        ] {
            let Some(judged) = changed(from, to) else {
                return;
            };
            let why = judged.expect_err(from);
            assert!(why.contains("the plain kernel's to"), "{from}: {why}");
        }
        let Some(one_group) = judged(|program| program.n_groups = 1) else {
            return;
        };
        assert!(one_group.unwrap_err().contains("came to 0"));
    }

    #[test]
    fn a_kernel_that_the_driver_refuses_is_not_taken_and_counts_for_no_model() {
        let Some(refused) = judged(|program| program.source = "fn main() {}".to_owned()) else {
            return;
        };
        let why = refused.unwrap_err();
        assert!(why.contains("the driver refuses the kernel"), "{why}");
    }

    #[test]
    fn an_adapter_that_is_lost_meanwhile_takes_none() {
        let options = options();
        let Some(live) = opened(&options) else { return };
        live.destroy();
        let product = Product::drawn();
        let candidate = product.program(&Tools::default());
        product.judged(&live, &options, candidate).unwrap_err();
        live.close();
    }
}
