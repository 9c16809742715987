//! A plan laid out for a device: its tables, what each buffer holds and how large it is, and its launches.
//!
//! The fields are those of `Buffers` in `kernels/program.cuh`, in its order; a test compares the two.

use std::fmt;

use super::emit::Specialisation;
use super::precision::Accuracy;
use super::tables::Tables;
use super::weights::{self, WeightTables, count};
use crate::compile::Compiled;
use crate::engine::cpu::constant_coefficients;
use crate::plan::{LANES, Plan, Purpose};
use crate::variables::{VarKind, Variables};

/// What a field of `Buffers` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The address of a buffer of so many bytes. `constant`: no kernel writes it.
    Buffer { bytes: usize, constant: bool },
    /// A number.
    Number(u64),
}

/// Fields of `Buffers`.
pub(super) const FIELDS: usize = 59;

/// A field of `Buffers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) content: Content,
}

impl Field {
    /// Bytes of a buffer.
    fn bytes(&self) -> usize {
        match self.content {
            Content::Buffer { bytes, .. } => bytes,
            Content::Number(_) => 0,
        }
    }
}

/// Blocks that a device runs at once, generously: the largest today have 132 multiprocessors, of which
/// each holds a few blocks of this engine. More work than blocks is gone through in turns.
pub(super) const BLOCKS: usize = 528;

/// A plan, ready to be loaded on a device.
pub struct Layout {
    pub(super) plan: Plan,
    pub(super) specialisation: Specialisation,
    pub(super) tables: Tables,
    /// How the device makes weights; `None`: the host does.
    pub(super) weights: Option<WeightTables>,
    /// All coefficients as far as nothing learns them, zero elsewhere.
    pub(super) constants: Vec<f32>,
    /// Learnable tensors: an optimiser has a step for each.
    pub(super) tensors: usize,
    /// Queries: by variable, its first state among those of all, then how many there are; a real one has none.
    pub(super) states: Vec<i32>,
    pub(super) sizes: Sizes,
}

/// Rows, blocks and shards of a plan's passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Rows of a batch that there is room for.
    pub(super) pitch: usize,
    /// Runs of tiles that gradients are summed over.
    pub(super) shards: usize,
    /// Runs of parts that one block goes back through; more than parts only where there are none.
    runs: usize,
    /// Blocks of the passes, and arenas.
    pub(super) blocks: usize,
    /// Blocks of the network's kernels.
    pub(super) network_blocks: usize,
}

impl Sizes {
    fn of(plan: &Plan, specialisation: &Specialisation, sectors: usize) -> Self {
        let threads = specialisation.threads as usize;
        let pitch = (plan.batch as usize).next_multiple_of(threads.max(LANES));
        let tiles = pitch / threads;
        let parts = plan.below_head().len().max(1);
        // As many shards, or for queries runs, as give every block work, no more: each has its gradients by
        // coefficients, or its flows.
        let queries = plan.purpose == Purpose::Query;
        let shards = if queries { tiles } else { BLOCKS.div_ceil(parts).min(tiles) };
        let runs = if queries { BLOCKS.div_ceil(tiles).min(parts) } else { parts };
        let blocks = (parts * tiles).min(BLOCKS);
        let network_blocks = sectors.div_ceil(threads).min(BLOCKS);
        Sizes { pitch, shards, runs, blocks, network_blocks }
    }
}

impl Layout {
    /// Lays a plan of `compiled` out for kernels of this specialisation.
    pub fn new(compiled: &Compiled, plan: Plan, specialisation: Specialisation) -> Self {
        let tables = Tables::new(&plan);
        let mut constants = vec![0.0; tables.coefficients];
        let mut leasts = Vec::new();
        for (number, part) in plan.parts.iter().enumerate() {
            let mut own = vec![0.0; plan.program(part).coefficients as usize];
            leasts.push(constant_coefficients(&compiled.circuit, part, &mut own));
            tables.spread(number, &own, &mut constants);
        }
        let weights = WeightTables::new(compiled, &plan, &tables, &leasts);
        let sectors = weights.as_ref().map_or(0, |made| count(&made.sectors, weights::SECTOR));
        let sizes = Sizes::of(&plan, &specialisation, sectors);
        let tensors = compiled.parameters.tensors().iter().count();
        let states = match plan.purpose {
            Purpose::Query => first_states(compiled.written.variables()),
            Purpose::Evaluate | Purpose::Train => Vec::new(),
        };
        Layout { plan, specialisation, tables, weights, constants, tensors, states, sizes }
    }

    /// The same within so many bytes: where all blocks and shards take more, there are fewer, down to one. Gradients are
    /// summed in as many shards, so their bits depend on it.
    ///
    /// # Errors
    /// The bytes that the least takes, where that is more.
    pub fn within(
        compiled: &Compiled,
        plan: Plan,
        specialisation: Specialisation,
        limit: usize,
    ) -> Result<Self, usize> {
        let mut layout = Layout::new(compiled, plan, specialisation);
        layout.fit(limit).map(|()| layout)
    }

    /// Takes blocks and shards away until the rest takes at most so many bytes.
    ///
    /// # Errors
    /// The bytes that the least takes, where that is more.
    pub(super) fn fit(&mut self, limit: usize) -> Result<(), usize> {
        while self.bytes() > limit {
            if !self.halve() {
                return Err(self.bytes());
            }
        }
        Ok(())
    }

    /// Halves the number of shards, runs or blocks whose buffers take most. Returns whether there were several.
    fn halve(&mut self) -> bool {
        let fields = self.fields();
        let bytes = |name| {
            let named = fields.iter().find(|field| field.name == name);
            named.map_or(0, |field| field.bytes())
        };
        let Sizes { shards, runs, blocks, network_blocks, .. } = &mut self.sizes;
        let summands = if self.plan.purpose == Purpose::Query { runs } else { shards };
        let network = if *network_blocks > *blocks { bytes("workspace") } else { 0 };
        let mut counts = [
            (bytes("partial"), summands),
            (bytes("workspace"), blocks),
            (bytes("network_partial").max(network), network_blocks),
        ];
        let several = counts.iter_mut().filter(|(bytes, count)| *bytes > 0 && **count > 1);
        match several.max_by_key(|(bytes, _)| *bytes) {
            Some((_, count)) => **count /= 2,
            None => return false,
        }
        true
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The runs of rows, and of sectors, that gradients are summed over, each by itself.
    pub(super) fn sums(&self) -> [usize; 2] {
        [self.sizes.shards, self.sizes.network_blocks]
    }

    /// The tables that never change, with the names of the buffers that hold them.
    pub fn words(&self) -> Vec<(&'static str, &[i32])> {
        let mut words = self.tables.words().to_vec();
        if let Some(made) = &self.weights {
            words.extend([
                ("weight_rows", &made.rows[..]),
                ("sectors", &made.sectors),
                ("layers", &made.layers),
                ("certificates", &made.certificates),
            ]);
        }
        if !self.states.is_empty() {
            words.push(("first_states", &self.states));
        }
        words
    }

    /// States of all variables, of a plan for queries.
    pub(super) fn states(&self) -> usize {
        self.states.last().map_or(0, |&states| states as usize)
    }

    /// Whether the device makes the weights; else the host does, and they are copied.
    pub fn makes_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// Learned numbers, where the device makes the weights of them.
    pub(super) fn learned(&self) -> usize {
        self.weights.as_ref().map_or(0, |made| made.parameters)
    }

    /// Rows of a batch that there is room for.
    pub(super) fn pitch(&self) -> usize {
        self.sizes.pitch
    }

    /// Runs of parts that one block goes back through.
    pub(super) fn runs(&self) -> usize {
        self.sizes.runs.min(self.plan.below_head().len())
    }

    /// Updates of a step: one a tensor, none of an evaluation.
    pub(super) fn updates(&self) -> usize {
        if self.plan.purpose == Purpose::Train { self.tensors } else { 0 }
    }

    /// Words of what the kernels of a batch are told: its updates, then its rows.
    pub(super) fn order(&self) -> usize {
        self.updates() * UPDATE + self.sizes.pitch
    }

    /// All coefficients as far as nothing learns them, zero elsewhere.
    pub fn constants(&self) -> &[f32] {
        &self.constants
    }

    /// The fields of `Buffers`, for a full batch.
    pub(super) fn fields(&self) -> [Field; FIELDS] {
        let Layout { plan, specialisation, tables, sizes, .. } = self;
        let Sizes { pitch, shards, blocks, network_blocks, .. } = *sizes;
        let none = WeightTables::default();
        let made = self.weights.as_ref().unwrap_or(&none);
        let back = usize::from(plan.purpose.goes_back());
        let trains = plan.purpose == Purpose::Train;
        let [learns, asks] = [trains, plan.purpose == Purpose::Query].map(usize::from);
        // What is summed, and of how many.
        let (summed, summands) = match plan.purpose {
            Purpose::Evaluate => (0, 0),
            Purpose::Train => (tables.coefficients, shards),
            Purpose::Query => (self.states() * pitch, self.runs() + 1),
        };
        let arena = self.specialisation.arenas.largest();
        let workspace = arena * specialisation.threads as usize * blocks.max(network_blocks);
        let weight_rows = count(&made.rows, weights::ROW);
        let words = self.words();
        let table = |name| {
            let found = words.iter().find(|(table, _)| *table == name);
            buffer(name, found.map_or(0, |(_, words)| words.len()), true)
        };
        let output = |name, words| buffer(name, words, false);
        let number = |name, number: usize| Field { name, content: Content::Number(number as u64) };
        [
            table("steps"),
            table("operands"),
            table("columns"),
            table("parts"),
            table("lists"),
            table("terms"),
            output("coefficients", tables.coefficients),
            output("certified", plan.parts.len()),
            output("least", plan.parts.len()),
            output("data", pitch * plan.variables as usize),
            output("handed", tables.handed * pitch),
            output("handed_exponents", tables.outputs * pitch),
            output("handed_bounds", tables.outputs * pitch),
            output("d_handed", back * tables.handed * pitch),
            output("log_p", 2 * (pitch + MET)),
            output("in_doubt", pitch),
            output("partial", summands * summed),
            output("d_coefficients", summed),
            output("workspace", if specialisation.shared { 0 } else { workspace }),
            buffer("parameters", made.parameters, !trains),
            output("gradient", learns * made.parameters),
            output("first", learns * made.parameters),
            output("second", learns * made.parameters),
            buffer("updates", self.order(), true),
            // As large as the data set that comes.
            buffer("held", 0, true),
            table("weight_rows"),
            output("row_least", weight_rows),
            table("sectors"),
            table("layers"),
            table("certificates"),
            output("network_partial", learns * network_blocks * made.network),
            table("first_states"),
            output("picked", asks * tables.outputs * pitch),
            output("drawn", asks * pitch * plan.variables as usize),
            output("logs", asks * 2 * tables.coefficients),
            output("handed_logs", asks * 2 * tables.handed * pitch),
            number("parts_below", plan.below_head().len()),
            number("rows", plan.batch as usize),
            number("pitch", pitch),
            number("variables", plan.variables as usize),
            number("shards", shards),
            number("runs", self.runs()),
            number("arena", arena),
            number("all_coefficients", tables.coefficients),
            number("summands", summands),
            number("summed", summed),
            number("train", back),
            number("draws", 0),
            number("seed", 0),
            number("first_draw", 0),
            number("weight_rows_count", weight_rows),
            number("sectors_count", count(&made.sectors, weights::SECTOR)),
            number("layers_count", count(&made.layers, weights::LAYER)),
            number("network_columns", made.columns),
            number("network_size", made.network),
            number("network_blocks", network_blocks),
            number("parameters_count", made.parameters),
            number("updates_count", self.updates()),
            number("held_bytes", 0),
        ]
    }

    /// The kernels that it is for.
    pub fn specialisation(&self) -> &Specialisation {
        &self.specialisation
    }

    /// How near to the truth the kernels are.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy::of(&self.plan, &self.specialisation)
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        self.fields().iter().map(Field::bytes).sum()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Specialisation { threads, shared, arenas, .. } = &self.specialisation;
        let Sizes { pitch, shards, blocks, .. } = self.sizes;
        let memory = if *shared { "shared" } else { "global" };
        writeln!(f, "device threads={threads} pitch={pitch} shards={shards} blocks={blocks}")?;
        writeln!(f, "  bytes={} arena rows={} in {memory} memory", self.bytes(), arenas.largest())?;
        writeln!(f, "  {}", self.accuracy())
    }
}

/// For each variable its first state among those of all, then how many there are; a real one has none.
fn first_states(variables: &Variables) -> Vec<i32> {
    let mut total = 0;
    let of = |var| match variables.kind(var) {
        VarKind::Categorical { states } => states as i32,
        VarKind::Real => 0,
    };
    let first = variables.ids().map(|var| {
        total += of(var);
        total - of(var)
    });
    let mut first: Vec<i32> = first.collect();
    first.push(total);
    first
}

fn buffer(name: &'static str, words: usize, constant: bool) -> Field {
    Field { name, content: Content::Buffer { bytes: words * WORD, constant } }
}

/// Words of an `Update` of the kernels.
pub(super) const UPDATE: usize = 12;

/// What a step may meet, in the order of `Met` of the kernels, a double each behind `log_p`.
pub(super) const MET: usize = 3;

/// Bytes of a number.
pub(super) const WORD: usize = size_of::<f32>();
