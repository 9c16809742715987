//! The precision of sums on tensor cores, and how far from the truth it can lead.
//!
//! Terms are positive, so a sum is off by no more than its products are, as a part of itself, and what a term of the
//! circuit is off by is the product over the sums that it goes through. All else, sums in registers among it, has the
//! precision of single numbers whatever is chosen here.

use std::fmt;

use super::emit::Specialisation;
use crate::plan::{Input, Op, Plan, Program, Step};

/// Precision of the operands of wide sums; all are added up in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As single precision has it: operands are split into two numbers of eleven bits.
    #[default]
    F32,
    /// Operands of eleven bits.
    Tf32,
    /// Operands of eight bits.
    Bf16,
}

impl Precision {
    /// All of them, the most precise first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

    /// The name that users know it by.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// The name in the kernels.
    pub(super) fn constant(self) -> &'static str {
        match self {
            Precision::F32 => "F32",
            Precision::Tf32 => "TF32",
            Precision::Bf16 => "BF16",
        }
    }

    /// The most that the logarithm of a wide sum is off by, in nats, for what its operands lack.
    pub fn nats(self) -> f64 {
        // Half a last place of each of the two operands.
        let rounded_twice = |bits: i32| -2.0 * (-(-f64::from(bits)).exp2()).ln_1p();
        match self {
            Precision::F32 => -(-(-21.0f64).exp2()).ln_1p(),
            Precision::Tf32 => rounded_twice(11),
            Precision::Bf16 => rounded_twice(8),
        }
    }
}

/// How near to the truth a plan is on a device, but for the rounding of single precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// The precision of wide sums.
    pub precision: Precision,
    /// The most of them that any term of the circuit's polynomial goes through.
    pub wide_sums: u64,
}

impl Accuracy {
    /// Of a plan's kernels of this specialisation.
    pub fn of(plan: &Plan, specialisation: &Specialisation) -> Self {
        let mut outputs: Vec<Vec<u64>> = Vec::new();
        for part in &plan.parts {
            let program = plan.program(part);
            let passed = wide_sums(program, specialisation, &outputs);
            outputs.push(program.outputs.iter().map(|&value| passed[value as usize]).collect());
        }
        let root = outputs.last().and_then(|head| head.first());
        Accuracy { precision: specialisation.precision, wide_sums: root.copied().unwrap_or(0) }
    }

    /// The most that ln p of a row is off by, in nats.
    pub fn log_p(&self) -> f64 {
        self.wide_sums as f64 * self.precision.nats()
    }

    /// The most that the logarithm of a flow, the derivative of ln p by the logarithm of a weight, is off by: a flow is
    /// the terms that use the weight over all terms, and a product of both more where gradients are summed over rows.
    pub fn log_flow(&self) -> f64 {
        let products = (2 * self.wide_sums).saturating_add(u64::from(self.wide_sums > 0));
        products as f64 * self.precision.nats()
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.precision.name();
        match self.wide_sums {
            0 => write!(f, "precision={name}: no sum is wide enough for tensor cores"),
            sums => write!(
                f,
                "precision={name}: a term goes through {sums} wide sums at most; beside single precision, ln p is \
                 within {:.2e} nats and the logarithm of a flow within {:.2e}",
                self.log_p(),
                self.log_flow()
            ),
        }
    }
}

/// The least units and width of a sum that tensor cores take.
const TILE: u32 = 16;

/// Whether a step is a sum on tensor cores.
fn is_wide(program: &Program, step: &Step, specialisation: &Specialisation) -> bool {
    let units = program.values[step.output as usize].units;
    let width = program.formed(step);
    let may_be = match step.op {
        Op::Sum { .. } | Op::KroneckerSum { .. } => true,
        Op::ProductSum { .. } => !specialisation.widths.contains(&width),
        _ => false,
    };
    may_be && units >= TILE && width >= TILE
}

/// The most wide sums that a term of each value goes through, given those of the parts' outputs.
fn wide_sums(program: &Program, specialisation: &Specialisation, outputs: &[Vec<u64>]) -> Vec<u64> {
    let mut passed = vec![0u64; program.values.len()];
    for step in &program.steps {
        let inputs = program.inputs(step);
        let below = |inputs: &[Input]| -> Vec<u64> {
            inputs.iter().map(|input| passed[input.value as usize]).collect()
        };
        let most = |counts: &[u64]| counts.iter().copied().max().unwrap_or(0);
        let own = u64::from(is_wide(program, step, specialisation));
        let all = below(inputs);
        passed[step.output as usize] = match step.op {
            Op::Import { part, output } => outputs[part as usize][output as usize],
            Op::Product
            | Op::Kronecker
            | Op::AddLogs
            | Op::ProductSum { .. }
            | Op::KroneckerSum { .. } => {
                all.iter().fold(own, |sum, &count| sum.saturating_add(count))
            }
            Op::Sparse { left, .. } => {
                let (left, right) = all.split_at(left as usize);
                most(left).saturating_add(most(right))
            }
            Op::Sum { .. } | Op::Mix { .. } | Op::Exponentiate => most(&all) + own,
            Op::Lookup { .. } | Op::LogLookup { .. } => 0,
            Op::Gaussian { .. } | Op::Poisson { .. } | Op::One => 0,
        };
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_take_sums_of_as_many_units_for_wide_and_know_every_precision() {
        let kernels = include_str!("../../../kernels/tensor.cuh");
        assert!(kernels.contains(&format!("#define TILE_ROWS {TILE}\n")));
        assert!(kernels.contains("return units >= TILE_ROWS && width >= TILE_ROWS;"));
        let names = Precision::ALL.map(Precision::constant).join(", ");
        assert!(kernels.contains(&format!("enum Precision {{ {names} }};")));
    }

    #[test]
    fn what_a_sum_is_off_by_is_two_roundings() {
        let [single, eleven, eight] = Precision::ALL.map(Precision::nats);
        assert!((single * 2f64.powi(21) - 1.0).abs() < 1e-6);
        assert!((eleven * 2f64.powi(10) - 1.0).abs() < 1e-3);
        assert!((eight * 2f64.powi(7) - 1.0).abs() < 1e-2);
    }
}
