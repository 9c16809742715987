//! How the weights of a plan are made on the device: tables of rows, sectors and layers.
//!
//! A device makes the weights of parameterizers that name a family of its kernels, see
//! [`DeviceSource`](crate::param::DeviceSource). Where a plan has another maker, there are no tables, and all
//! weights are made on the host.

use super::tables::{NOWHERE, Tables, words_of};
use crate::compile::Compiled;
use crate::leaf::Family;
use crate::param::DeviceSource;
use crate::param::normalise::Least;
use crate::plan::{Block, Part, Plan, Source};
use crate::sector::{MakerBinding, Parameters};

/// The family of kernels for logits that are parameters themselves.
const DIRECT: &str = "direct";
/// The family of kernels for logits that a network makes of embeddings.
const HYPER: &str = "hyper";

/// `RowKind` of the kernels.
const WEIGHTS: i32 = 0;
const CATEGORICAL: i32 = 1;
const BERNOULLI: i32 = 2;
const NORMAL: i32 = 3;

/// A row of coefficients that is made by itself.
struct Row {
    kind: i32,
    len: usize,
    /// `None`: a network has put logits in its place.
    parameters: Option<usize>,
    part: usize,
    at: usize,
    bounds: [f32; 2],
}

/// What the kernels read to make weights.
#[derive(Default)]
pub(super) struct WeightTables {
    /// `WeightRow`s, by part.
    pub(super) rows: Vec<i32>,
    /// `Sector`s.
    pub(super) sectors: Vec<i32>,
    /// `Layer`s.
    pub(super) layers: Vec<i32>,
    /// `Certificate`s.
    pub(super) certificates: Vec<i32>,
    /// Columns of the network's largest sector.
    pub(super) columns: usize,
    /// Numbers of the network's parameters.
    pub(super) network: usize,
    /// Learned numbers in all.
    pub(super) parameters: usize,
}

/// Words of each structure.
pub(super) const ROW: usize = 8;
pub(super) const SECTOR: usize = 6;
pub(super) const LAYER: usize = 4;
/// Logits of a sector that the kernels take back at a time.
const OUTPUT_CHUNK: usize = 8;

impl WeightTables {
    /// The tables of a plan; `None` where a maker has no kernels. `constant` are the least weights of each
    /// part that nothing learns.
    pub(super) fn new(
        compiled: &Compiled,
        plan: &Plan,
        tables: &Tables,
        constant: &[Least],
    ) -> Option<Self> {
        let mut made = WeightTables {
            parameters: compiled.parameters.tensors().len(),
            ..WeightTables::default()
        };
        let mut rows = Vec::new();
        for block in plan.groups.iter().flat_map(|group| &group.blocks) {
            let Some(maker) = compiled.parameters.maker(block.maker) else { continue };
            let source = maker.bound.device.as_ref()?;
            match source.family.as_str() {
                DIRECT => direct_rows(maker, block, tables, &mut rows)?,
                HYPER => made.sectors(maker, source, block, tables, &mut rows)?,
                _ => return None,
            }
        }
        for (number, part) in plan.parts.iter().enumerate() {
            leaf_rows(compiled, number, part, tables, &mut rows)?;
        }
        rows.sort_by_key(|row: &Row| (row.part, row.at));
        made.write(plan, &rows, constant);
        Some(made)
    }

    /// The sectors of a block that a network makes, and their rows, which are normalised in place.
    fn sectors(
        &mut self,
        maker: &MakerBinding,
        source: &DeviceSource,
        block: &Block,
        tables: &Tables,
        rows: &mut Vec<Row>,
    ) -> Option<()> {
        self.network(maker, source);
        for (&sector, &(part, place)) in block.sectors.iter().zip(&block.at) {
            let (at, pitch) = tables.place(part as usize, place as usize)?;
            let embedding = maker.own_row(sector).start as i32;
            let shape = [block.rows as i32, block.cols as i32, pitch as i32];
            self.sectors.extend([embedding].into_iter().chain(shape).chain(words_of(at)));
        }
        for group in block.at.chunks(block.span as usize) {
            for row in 0..block.rows as usize {
                rows.push(weights_row(block, group, row, tables, None)?);
            }
        }
        Some(())
    }

    /// The layers of a network, once.
    fn network(&mut self, maker: &MakerBinding, source: &DeviceSource) {
        if !self.layers.is_empty() {
            return;
        }
        let widths: Vec<usize> = constants(source, "width").collect();
        let (mut at, mut first) = (maker.shared.start, 0);
        for pair in widths.windows(2) {
            self.layers.extend([at, pair[0], pair[1], first].map(|word| word as i32));
            at += pair[0] * pair[1] + pair[1];
            first += pair[0];
        }
        self.columns = constants(source, "columns").next().unwrap_or(0);
        self.network = maker.shared.len();
    }

    fn write(&mut self, plan: &Plan, rows: &[Row], constant: &[Least]) {
        for row in rows {
            let parameters = row.parameters.map_or(NOWHERE, |at| at as i32);
            self.rows.extend([row.kind, row.len as i32, parameters, 0]);
            self.rows.extend(words_of(row.at));
            self.rows.extend(row.bounds.map(|bound| bound.to_bits() as i32));
        }
        for (number, (part, least)) in plan.parts.iter().zip(constant).enumerate() {
            let first = rows.partition_point(|row| row.part < number);
            let end = rows.partition_point(|row| row.part <= number);
            let chain = match plan.program(part).chain {
                Some(0) => 0,
                Some(chain) if !part.has_zeros && !least.zero => chain as i32,
                _ => -1,
            };
            let least = least.weight.to_bits() as i32;
            self.certificates.extend([first as i32, (end - first) as i32, chain, least]);
        }
    }
}

/// The constants of this name of a family.
fn constants<'a>(source: &'a DeviceSource, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let named = source.constants.iter().filter(move |(other, _)| other == name);
    named.map(|(_, value)| *value as usize)
}

/// Rows of a block's arena that networks of these parameters take: activations, the gradients by them, and those
/// by some logits.
pub(super) fn network_rows(parameters: &Parameters) -> usize {
    let sources = parameters.makers().iter().filter_map(|maker| maker.bound.device.as_ref());
    let rows = sources.filter(|source| source.family == HYPER).map(|source| {
        let widths: Vec<usize> = constants(source, "width").collect();
        2 * widths.iter().rev().skip(1).sum::<usize>() + OUTPUT_CHUNK
    });
    rows.max().unwrap_or(0)
}

/// Row `row` of a normalisation group, whose sectors lie at `places`: one sector's, or consecutive slices that
/// make up a row of a table. `None` where they are no neighbours.
fn weights_row(
    block: &Block,
    places: &[(u32, u32)],
    row: usize,
    tables: &Tables,
    parameters: Option<usize>,
) -> Option<Row> {
    let cols = block.cols as usize;
    let &(part, first) = places.first()?;
    let neighbours = places
        .iter()
        .zip(0..)
        .all(|(&(other, at), n)| other == part && at as usize == first as usize + n * cols);
    let place = first as usize + row * cols;
    let len = cols * block.span as usize;
    let part = part as usize;
    let (at, pitch) = tables.place(part, place)?;
    let whole = tables.place(part, place + len - 1) == Some((at + len - 1, pitch));
    (neighbours && whole).then_some(Row {
        kind: WEIGHTS,
        len,
        parameters,
        part,
        at,
        bounds: [0.0; 2],
    })
}

/// The rows of a block whose logits are parameters.
fn direct_rows(
    maker: &MakerBinding,
    block: &Block,
    tables: &Tables,
    rows: &mut Vec<Row>,
) -> Option<()> {
    let (cols, span) = (block.cols as usize, block.span as usize);
    for (sectors, places) in block.sectors.chunks(span).zip(block.at.chunks(span)) {
        let start = maker.own_row(*sectors.first()?).start;
        let follow = |(&sector, n): (&u32, usize)| maker.own_row(sector).start == start + n * cols;
        if span > 1 && !sectors.iter().zip(0..).all(follow) {
            return None;
        }
        for row in 0..block.rows as usize {
            rows.push(weights_row(block, places, row, tables, Some(start + row * cols))?);
        }
    }
    Some(())
}

/// The rows of a part's leaves that are learned.
fn leaf_rows(
    compiled: &Compiled,
    number: usize,
    part: &Part,
    tables: &Tables,
    rows: &mut Vec<Row>,
) -> Option<()> {
    for entry in &part.coefficients {
        let Source::Dist(id) = entry.source else { continue };
        let (family, raw) = (compiled.circuit.dists()[id].family, compiled.parameters.leaf(id));
        let (kind, bounds) = match family {
            Family::Indicators { .. } => continue,
            Family::Bernoulli => (BERNOULLI, [0.0; 2]),
            Family::Categorical { .. } if family.raw_len() == 1 => (BERNOULLI, [0.0; 2]),
            Family::Categorical { .. } => (CATEGORICAL, [0.0; 2]),
            Family::Gaussian { min_var, max_var } => (NORMAL, [min_var as f32, max_var as f32]),
            Family::Binomial { .. } | Family::Poisson => return None,
        };
        let cols = family.states().unwrap_or(3);
        let first = entry.at - part.first_coefficient;
        for (unit, parameters) in raw.step_by(family.raw_len().max(1)).enumerate() {
            let (at, _) = tables.place(number, first + unit * cols)?;
            let parameters = Some(parameters);
            rows.push(Row { kind, len: cols, parameters, part: number, at, bounds });
        }
    }
    Some(())
}

/// How many structures of so many words there are.
pub(super) fn count(words: &[i32], structure: usize) -> usize {
    words.len() / structure
}
