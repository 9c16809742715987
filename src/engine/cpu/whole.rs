//! A prepared data set evaluated at once: each distinct row once, and of shared parts each entry.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::forward::{Imports, NoImports, Unit, forward};
use super::passes::{hand_over, output_of, root_lane, units_of};
use super::shared::{DistinctRows, Outputs, Size, WholeSet, WholeWorkspace, grow};
use super::state::PartState;
use super::tile::{Arenas, Workspace};
use super::{CpuExecutable, Worker, own_worker};
use crate::data::Dataset;
use crate::plan::{LANES, Part, Plan};

/// Tiles that the head runs over in one task.
const TILES: usize = 8;

/// What is kept of an evaluation of all distinct rows.
#[derive(Default)]
pub(super) struct Whole {
    /// What each part hands to the head.
    outputs: Vec<Outputs>,
    /// ln p of each distinct row, and whether linear arithmetic cannot be sure of it.
    log_p: Vec<f64>,
    in_doubt: Vec<bool>,
    /// What threads work in: where memory is limited fewer than there are threads, which wait for each
    /// other.
    workers: Vec<Mutex<WholeWorker>>,
}

/// The memory of one worker.
#[derive(Default)]
pub(super) struct WholeWorker {
    shared: WholeWorkspace,
    /// A tile of data, [variables][LANES].
    tile: Vec<f32>,
}

impl WholeWorker {
    /// Bytes of one.
    pub(super) fn bytes(plan: &Plan, size: Size) -> usize {
        size_of::<Mutex<WholeWorker>>() + size.bytes() + 4 * plan.variables as usize * LANES
    }
}

/// The memory of the thread that calls.
fn own_whole(workers: &[Mutex<WholeWorker>]) -> MutexGuard<'_, WholeWorker> {
    let index = rayon::current_thread_index().unwrap_or(0) % workers.len();
    workers[index].lock().unwrap_or_else(PoisonError::into_inner)
}

impl Whole {
    /// Makes room for a data set.
    pub(super) fn reserve(&mut self, plan: &Plan, set: &WholeSet) {
        let (rows, parts) = (set.rows.first.len(), plan.below_head());
        self.outputs.resize_with(parts.len(), Outputs::default);
        for (outputs, part) in self.outputs.iter_mut().zip(parts) {
            outputs.reserve(plan.program(part), rows);
        }
        grow(&mut self.log_p, rows);
        grow(&mut self.in_doubt, rows);
        self.workers.resize_with(self.workers.len().max(set.workers), Mutex::default);
        for worker in &mut self.workers[..set.workers] {
            let worker = worker.get_mut().unwrap_or_else(PoisonError::into_inner);
            worker.shared.reserve(set.size);
            grow(&mut worker.tile, plan.variables as usize * LANES);
        }
    }

    /// Bytes for so many distinct rows, besides those of workers.
    pub(super) fn bytes(plan: &Plan, rows: usize) -> usize {
        let outputs = |part| size_of::<Outputs>() + Outputs::bytes(plan.program(part), rows);
        let own = rows * (size_of::<f64>() + size_of::<bool>());
        own + plan.below_head().iter().map(outputs).sum::<usize>()
    }
}

impl CpuExecutable {
    /// The data set that these are rows of, if it is to be evaluated whole: if there are not many more
    /// distinct rows than are asked for.
    pub(super) fn known_whole(&self, data: &Dataset, rows: usize) -> Option<usize> {
        let known = self.sets.iter().position(|set| set.is_of(data))?;
        (2 * rows >= self.sets[known].rows.first.len()).then_some(known)
    }

    /// Writes ln p of some rows of a data set. Returns how many were evaluated in the log domain.
    pub(super) fn evaluate_whole(
        &mut self,
        known: usize,
        data: &Dataset,
        rows: &[u32],
        log_p: &mut [f64],
    ) -> usize {
        self.run_whole(known, data);
        let DistinctRows { number, first, .. } = &self.sets[known].rows;
        let distinct = rows.iter().map(|&row| number[row as usize]);
        let in_doubt = |&row: &u32| self.whole.in_doubt[row as usize];
        let mut doubt: Vec<u32> = distinct.filter(in_doubt).collect();
        let in_logs = doubt.len();
        doubt.sort_unstable();
        doubt.dedup();
        let again: Vec<u32> = doubt.iter().map(|&row| first[row as usize]).collect();
        let mut logs = vec![0.0; again.len()];
        self.evaluate_in_logs(data, &again, &mut logs);
        let Whole { log_p: of_distinct, .. } = &mut self.whole;
        doubt.iter().zip(logs).for_each(|(&row, log)| of_distinct[row as usize] = log);
        let number = &self.sets[known].rows.number;
        let told = log_p.iter_mut().zip(rows);
        told.for_each(|(log_p, &row)| *log_p = of_distinct[number[row as usize] as usize]);
        in_logs
    }

    /// Every part over all of its entries, or rows; then the head over all rows.
    fn run_whole(&mut self, known: usize, data: &Dataset) {
        let CpuExecutable { plan, workers, states, whole, .. } = self;
        let set = &self.sets[known];
        let first = &set.rows.first[..];
        let Whole { outputs, log_p, in_doubt, workers: of_whole } = whole;
        let of_whole = &of_whole[..set.workers];
        let Some((head, parts)) = states.split_last() else { return };
        outputs.par_iter_mut().zip(parts).enumerate().for_each(|(number, (outputs, state))| {
            let Worker { workspace, .. } = &mut *own_worker(workers);
            let WholeWorker { shared, tile } = &mut *own_whole(of_whole);
            let (plan, part) = (&*plan, &plan.below_head()[number]);
            if state.may_share() && set.run(plan, number, state, shared, outputs) {
                return;
            }
            let rows = Rows { plan, part, state, data, rows: first, tile, workspace };
            pulp::Arch::new().dispatch(PartRows { rows, outputs });
        });
        let (outputs, run) = (&*outputs, TILES * LANES);
        let told = log_p.par_chunks_mut(run).zip(in_doubt.par_chunks_mut(run));
        first.par_chunks(run).zip(told).enumerate().for_each(|(run, (rows, (log_p, in_doubt)))| {
            let Worker { workspace, .. } = &mut *own_worker(workers);
            let WholeWorker { tile, .. } = &mut *own_whole(of_whole);
            let (plan, part) = (&*plan, plan.head());
            let rows = Rows { plan, part, state: head, data, rows, tile, workspace };
            let first = run * TILES;
            pulp::Arch::new().dispatch(HeadRows { rows, outputs, first, log_p, in_doubt });
        });
    }
}

/// A part, or the head, over rows of a data set.
struct Rows<'a> {
    plan: &'a Plan,
    part: &'a Part,
    state: &'a PartState,
    data: &'a Dataset,
    rows: &'a [u32],
    /// Where a tile of the data is put, [variables][LANES].
    tile: &'a mut [f32],
    workspace: &'a mut Workspace,
}

impl Rows<'_> {
    /// Runs tile by tile; calls `done` with what was run, the tile, the rows that it has, and what they
    /// have come to.
    fn run<S: Simd, I: Imports>(
        self,
        simd: S,
        imports: impl Fn(usize) -> I,
        mut done: impl FnMut(&Unit<'_>, usize, usize, &Arenas<'_>),
    ) {
        let Rows { plan, part, state, data, rows, tile, workspace } = self;
        let program = plan.program(part);
        let (mut arenas, mut scratch) = workspace.arenas(program);
        for (place, rows) in rows.chunks(LANES).enumerate() {
            if !part.columns.is_empty() {
                data.tile(rows, tile);
            }
            let unit = Unit {
                program,
                columns: &part.columns,
                coefficients: &state.coefficients,
                data: tile,
                missing: data.has_missing(),
                certified: state.certified,
                exponents: true,
            };
            forward(simd, &unit, &imports(place), &mut arenas, &mut scratch);
            done(&unit, place, rows.len(), &arenas);
        }
    }
}

/// A part that is not shared, over all distinct rows.
struct PartRows<'a> {
    rows: Rows<'a>,
    outputs: &'a mut Outputs,
}

impl WithSimd for PartRows<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let PartRows { rows, outputs } = self;
        let Outputs { units, exponents, bounds, is_bounded } = outputs;
        *is_bounded = !rows.state.certified;
        let done = |unit: &Unit<'_>, tile: usize, _, arenas: &Arenas<'_>| {
            hand_over(unit, arenas, tile, (units, exponents, bounds));
        };
        rows.run(simd, |_| NoImports, done);
    }
}

/// The head over a run of the distinct rows, from tile `first` on.
struct HeadRows<'a> {
    rows: Rows<'a>,
    outputs: &'a [Outputs],
    first: usize,
    log_p: &'a mut [f64],
    in_doubt: &'a mut [bool],
}

impl WithSimd for HeadRows<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let HeadRows { rows, outputs, first, log_p, in_doubt } = self;
        let plan = rows.plan;
        let imports = |tile| Handed { plan, outputs, tile: first + tile };
        rows.run(simd, imports, |unit, tile, rows, arenas| {
            for lane in 0..rows {
                let found = root_lane(unit, arenas, lane);
                log_p[tile * LANES + lane] = found.log_p;
                in_doubt[tile * LANES + lane] = !found.is_sure;
            }
        });
    }
}

/// What the parts handed to the head for one tile.
struct Handed<'a> {
    plan: &'a Plan,
    outputs: &'a [Outputs],
    tile: usize,
}

impl Imports for Handed<'_> {
    fn import(&self, part: u32, output: u32) -> (&[f32], &[i32], &[f32]) {
        let (program, value, before) = output_of(self.plan, part, output);
        let Outputs { units, exponents, bounds, is_bounded } = &self.outputs[part as usize];
        let first = (self.tile * units_of(program) + before) * LANES;
        let row = (self.tile * program.outputs.len() + output as usize) * LANES;
        let row = row..row + LANES;
        let units = &units[first..first + value.units as usize * LANES];
        let bounds = if *is_bounded { &bounds[row.clone()] } else { &[0.0; LANES] };
        (units, &exponents[row], bounds)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::compile::{Options, compile};
    use crate::diag::Source;
    use crate::engine::Executable;
    use crate::param::registry::Registry;
    use crate::plan::{self, Purpose, Schedule, Sharing, plan};
    use crate::structure;
    use crate::variables::Variables;

    const BATCH: u32 = 64;
    const ROWS: usize = 400;
    /// Replicas of the circuit.
    const PARTS: usize = 4;

    /// A circuit, with some parameters; the first `far` of them are `spread` times what they are at the
    /// beginning.
    fn engine(spread: f32, far: f32) -> CpuExecutable {
        let text = "(variables: Binary(20), structure: RatSpn(units: 5, replicas: 4, seed: 1), \
                     leaves: Indicators)";
        let source = Source { name: "whole.ron".into(), text: text.into() };
        let loaded = structure::load(&source, false).unwrap();
        let parameterizer = structure::parameterizer(&loaded.spec, &Registry::new()).unwrap();
        let circuit = loaded.circuit.into_circuit();
        let compiled =
            compile(circuit, &loaded.map, parameterizer.as_ref(), &Options::default()).unwrap();
        let options = plan::Options {
            purpose: Purpose::Evaluate,
            schedule: Schedule::Wide,
            batch: BATCH,
            sharing: Sharing::Wherever,
        };
        let plan = plan(&compiled.circuit, &compiled.parameters, &options);
        let mut flat: Vec<f32> = compiled.parameters.initial(&compiled.written, 5, None);
        let far = (flat.len() as f32 * far) as usize;
        flat[..far].iter_mut().for_each(|number| *number *= spread);
        let mut engine = CpuExecutable::new(Arc::new(compiled), plan, 2).unwrap();
        engine.make_weights(&flat);
        engine
    }

    /// Rows of which many are the same.
    fn rows() -> Dataset {
        let bit = |row: usize, var: usize| (row * row % 37 * (var + 3) + var * var) / 5 % 2;
        let row = |row| (0..20).map(|var| Some(bit(row, var) as f32)).collect::<Vec<_>>();
        Dataset::from_rows(&Variables::binary(20), (0..ROWS).map(row).collect::<Vec<_>>()).unwrap()
    }

    /// Asserts that all rows evaluated at once are, bit by bit, what they are in batches. Returns how many
    /// went through the log domain.
    fn assert_agrees(engine: &mut CpuExecutable, data: &Dataset) -> usize {
        let all: Vec<u32> = (0..ROWS as u32).collect();
        let (mut log_p, mut expected) = (vec![0.0; ROWS], vec![0.0; ROWS]);
        let in_logs = engine.evaluate_in_batches(data, &all, &mut expected);
        let known = engine.known_whole(data, ROWS).unwrap();
        assert_eq!(engine.evaluate_whole(known, data, &all, &mut log_p), in_logs);
        assert_eq!(log_p, expected);
        in_logs
    }

    /// Makes batches of it, and all of it, known to an engine.
    fn prepare(engine: &mut CpuExecutable, data: &Dataset) {
        engine.prepare(data);
        assert!(engine.prepare_evaluations(data, 1) > 0);
    }

    #[test]
    fn all_rows_are_evaluated_at_once_and_few_or_others_in_batches() {
        let mut engine = engine(1.0, 1.0);
        let data = rows();
        assert_eq!(engine.known_whole(&data, ROWS), None);
        prepare(&mut engine, &data);
        let distinct = engine.sets[0].rows.first.len();
        assert!(distinct < 40, "{distinct} distinct rows");
        assert_eq!(engine.known_whole(&data, distinct.div_ceil(2)), Some(0));
        assert_eq!(engine.known_whole(&data, distinct.div_ceil(2) - 1), None);
        assert_eq!(engine.known_whole(&rows(), ROWS), None);
        assert_eq!(assert_agrees(&mut engine, &data), 0);
    }

    #[test]
    fn what_small_weights_lose_is_bounded_and_rows_in_doubt_go_through_logs_as_in_batches() {
        let mut in_logs = BTreeSet::new();
        let mut parts = BTreeSet::new();
        for spread in (10..200).step_by(10).chain([1000]) {
            for far in [0.5, 1.0] {
                let mut engine = engine(spread as f32, far);
                let data = rows();
                prepare(&mut engine, &data);
                in_logs.insert(assert_agrees(&mut engine, &data));
                let parts_that = |is: fn(&PartState) -> bool| {
                    engine.states[..PARTS].iter().filter(|state| is(state)).count()
                };
                let certified = parts_that(|state| state.certified);
                parts.insert(certified);
                // Zero weights too, for which a softmax has no number.
                assert_eq!(parts_that(PartState::may_share), PARTS);
            }
        }
        assert!(in_logs.len() > 1 && in_logs.contains(&0), "{in_logs:?} rows were in doubt");
        // All certified, none, and a mixture of them.
        assert!(parts.contains(&PARTS) && parts.contains(&0) && parts.len() > 2, "{parts:?}");
    }
}
