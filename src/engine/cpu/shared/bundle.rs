//! The tables of a bundle, one in each lane of a vector of eight numbers.
//!
//! All that the kernels of rows do to entries of one table is done here to one entry of eight tables, with
//! coefficients that differ from lane to lane; so no step goes across a vector. Coefficients are turned into
//! lanes on the way in, and the tables' rows, which others read, on the way out. On the way back what the
//! tables are made of is evaluated again: that takes less than to keep it.

use pulp::{Simd, WithSimd};

use super::eight::fits;
use super::shapes::by_shape;
use super::turn::turned;
use crate::engine::cpu::kernels::{kernel, normaliser};
use crate::plan::bundles::{Bundle, Input, Node, NodeOp};
use crate::plan::layout::{Layout, NARROW};
use crate::simd::take;

/// A number of each table.
type Lanes = [f32; NARROW];

/// Whether bundles are run on such vectors; else their steps are run one by one.
pub(super) fn runs<S: Simd>(layout: &Layout) -> bool {
    layout.narrow && fits::<S>()
}

/// What a bundle is evaluated in.
struct Room<'a> {
    /// Units of entries.
    values: &'a mut [Lanes],
    gradients: &'a mut [Lanes],
    /// The exponent of each entry, as bits.
    exponents: &'a mut [Lanes],
    /// Of one node: its coefficients, gradients by them, and products of units of entries.
    coefficients: &'a mut [Lanes],
    d_coefficients: &'a mut [Lanes],
    products: &'a mut [Lanes],
}

impl<'a> Room<'a> {
    fn of(bundle: &Bundle, buffer: &'a mut [f32]) -> Self {
        let ((entries, units), (numbers, _)) = (bundle.len(), bundle.most());
        let mut rest = buffer.as_chunks_mut::<NARROW>().0;
        Room {
            values: take(&mut rest, units),
            gradients: take(&mut rest, units),
            exponents: take(&mut rest, entries),
            coefficients: take(&mut rest, numbers),
            d_coefficients: take(&mut rest, numbers),
            products: rest,
        }
    }
}

kernel!(
    /// Evaluates the tables of a bundle, whose rows, and exponents where they are wanted, go to their places.
    tables / Tables<'a>(
        bundle: &'a Bundle,
        layout: &'a Layout,
        coefficients: &'a [f32],
        rows: &'a mut [f32],
        exponents: Option<&'a mut [i32]>,
        buffer: &'a mut [f32],
    )
    run_tables
);

#[inline(always)]
fn run_tables<S: Simd>(
    simd: S,
    bundle: &Bundle,
    layout: &Layout,
    coefficients: &[f32],
    rows: &mut [f32],
    exponents: Option<&mut [i32]>,
    buffer: &mut [f32],
) {
    if const { !fits::<S>() } {
        return;
    }
    let mut room = Room::of(bundle, buffer);
    for node in &bundle.nodes {
        evaluate(simd, bundle, node, layout, coefficients, &mut room);
    }
    let Some(top) = bundle.nodes.last() else { return };
    let values = room.values[top.first_unit..].chunks_exact(top.units);
    for (entry, units) in values.enumerate() {
        let mut held = [simd.splat_f32s(0.0); NARROW];
        for (held, unit) in held.iter_mut().zip(units) {
            *held = load::<S>(unit);
        }
        for (row, table) in turned(simd, held).into_iter().zip(&bundle.tables) {
            let to = &mut rows[table.rows + entry * NARROW..][..NARROW];
            S::as_mut_simd_f32s(to).0[0] = row;
        }
    }
    let Some(exponents) = exponents else { return };
    for (entry, lanes) in room.exponents[top.first_entry..].iter().enumerate() {
        for (table, exponent) in bundle.tables.iter().zip(lanes) {
            exponents[table.entries + entry] = exponent.to_bits() as i32;
        }
    }
}

kernel!(
    /// From the gradients by the rows of a bundle's tables to those by its coefficients, to which they are
    /// added.
    tables_back / TablesBack<'a>(
        bundle: &'a Bundle,
        layout: &'a Layout,
        coefficients: &'a [f32],
        gradients: &'a [f32],
        d_coefficients: &'a mut [f32],
        buffer: &'a mut [f32],
    )
    run_tables_back
);

#[inline(always)]
fn run_tables_back<S: Simd>(
    simd: S,
    bundle: &Bundle,
    layout: &Layout,
    coefficients: &[f32],
    gradients: &[f32],
    d_coefficients: &mut [f32],
    buffer: &mut [f32],
) {
    if const { !fits::<S>() } {
        return;
    }
    let mut room = Room::of(bundle, buffer);
    let Some((top, below)) = bundle.nodes.split_last() else { return };
    for node in below {
        evaluate(simd, bundle, node, layout, coefficients, &mut room);
    }
    let (inner, own) = room.gradients.split_at_mut(top.first_unit);
    inner.fill([0.0; NARROW]);
    for (entry, units) in own.chunks_exact_mut(top.units).enumerate() {
        let mut rows = [simd.splat_f32s(0.0); NARROW];
        for (row, table) in rows.iter_mut().zip(&bundle.tables) {
            let from = &gradients[table.rows + entry * NARROW..][..NARROW];
            *row = S::as_simd_f32s(from).0[0];
        }
        let columns = turned(simd, rows);
        for (unit, column) in units.iter_mut().zip(columns) {
            store::<S>(unit, column);
        }
    }
    for node in bundle.nodes.iter().rev().filter(|node| node.learns) {
        match node.op {
            NodeOp::Lookup { states } => columns_back(node, states, &mut room),
            NodeOp::ProductSum { width, inputs } => {
                to_lanes(simd, node, coefficients, room.coefficients);
                let maps = inputs.map(|input| layout.map(input.projection));
                let first = inputs.map(|input| bundle.nodes[input.node].first_unit);
                let shape = (width, node.units);
                by_shape!(shape, product_sum_back[S](simd, node, maps, first, &mut room));
            }
        }
        add_to_rows(simd, node, room.d_coefficients, d_coefficients);
    }
}

#[inline(always)]
fn load<S: Simd>(lanes: &Lanes) -> S::f32s {
    S::as_simd_f32s(lanes).0[0]
}

#[inline(always)]
fn store<S: Simd>(lanes: &mut Lanes, vector: S::f32s) {
    S::as_mut_simd_f32s(lanes).0[0] = vector;
}

/// Turns a node's coefficients into lanes. Lanes without a table have the first one's.
#[inline(always)]
fn to_lanes<S: Simd>(simd: S, node: &Node, coefficients: &[f32], lanes: &mut [Lanes]) {
    let count = node.width() * node.units;
    let at = |lane: usize| node.coefficients.get(lane).unwrap_or(&node.coefficients[0]);
    if count < NARROW {
        for (number, lanes) in lanes[..count].iter_mut().enumerate() {
            *lanes = std::array::from_fn(|lane| coefficients[at(lane) + number]);
        }
        return;
    }
    let starts: [usize; NARROW] = std::array::from_fn(|lane| *at(lane));
    // The last eight may have some that were turned already.
    let firsts = (0..count - NARROW).step_by(NARROW).chain([count - NARROW]);
    for first in firsts {
        let mut rows = [simd.splat_f32s(0.0); NARROW];
        for (row, start) in rows.iter_mut().zip(starts) {
            *row = S::as_simd_f32s(&coefficients[start + first..][..NARROW]).0[0];
        }
        let columns = turned(simd, rows);
        let lanes = &mut lanes[first..first + NARROW];
        for (lanes, column) in lanes.iter_mut().zip(columns) {
            store::<S>(lanes, column);
        }
    }
}

/// Adds the gradients by a node's coefficients to those of each table.
#[inline(always)]
fn add_to_rows<S: Simd>(simd: S, node: &Node, lanes: &[Lanes], d_coefficients: &mut [f32]) {
    let lanes = &lanes[..node.width() * node.units];
    let (eights, rest) = lanes.as_chunks::<NARROW>();
    for (eight, lanes) in eights.iter().enumerate() {
        let mut columns = [simd.splat_f32s(0.0); NARROW];
        for (column, lanes) in columns.iter_mut().zip(lanes) {
            *column = load::<S>(lanes);
        }
        for (row, &start) in turned(simd, columns).into_iter().zip(&node.coefficients) {
            let to = &mut d_coefficients[start + eight * NARROW..][..NARROW];
            let to = &mut S::as_mut_simd_f32s(to).0[0];
            *to = simd.add_f32s(*to, row);
        }
    }
    for (lane, &start) in node.coefficients.iter().enumerate() {
        let to = &mut d_coefficients[start + eights.len() * NARROW..][..rest.len()];
        to.iter_mut().zip(rest).for_each(|(to, lanes)| *to += lanes[lane]);
    }
}

/// Evaluates a node of all tables.
#[inline(always)]
fn evaluate<S: Simd>(
    simd: S,
    bundle: &Bundle,
    node: &Node,
    layout: &Layout,
    coefficients: &[f32],
    room: &mut Room<'_>,
) {
    to_lanes(simd, node, coefficients, room.coefficients);
    match node.op {
        NodeOp::Lookup { states } => columns(node, states, room),
        NodeOp::ProductSum { width, inputs } => {
            let maps = inputs.map(|input| layout.map(input.projection));
            let of = inputs.map(|Input { node, .. }| &bundle.nodes[node]);
            by_shape!((width, node.units), product_sum[S](simd, node, maps, of, room));
        }
    }
}

/// The entries of a look-up are the columns of its table.
fn columns(node: &Node, states: usize, room: &mut Room<'_>) {
    let values = &mut room.values[node.first_unit..][..node.entries * node.units];
    for (state, units) in values.chunks_exact_mut(node.units).enumerate() {
        for (unit, lanes) in units.iter_mut().enumerate() {
            *lanes = match state < states {
                true => room.coefficients[unit * states + state],
                false => [1.0; NARROW],
            };
        }
    }
    room.exponents[node.first_entry..][..node.entries].fill([0.0; NARROW]);
}

/// Gradients by a look-up's table.
fn columns_back(node: &Node, states: usize, room: &mut Room<'_>) {
    let gradients = room.gradients[node.first_unit..].chunks_exact(node.units);
    for (state, units) in gradients.take(states).enumerate() {
        for (unit, lanes) in units.iter().enumerate() {
            room.d_coefficients[unit * states + state] = *lanes;
        }
    }
}

/// The units of an entry that another reads.
#[inline(always)]
fn read<const K: usize>(values: &[Lanes], first: usize, entry: u32) -> &[Lanes; K] {
    let from = &values[first + entry as usize * K..];
    from.first_chunk::<K>().unwrap_or(&[[0.0; NARROW]; K])
}

#[inline(always)]
fn product_sum<S: Simd, const K: usize, const J: usize>(
    simd: S,
    node: &Node,
    [map_a, map_b]: [&[u32]; 2],
    [of_a, of_b]: [&Node; 2],
    room: &mut Room<'_>,
) {
    let (below, own) = room.values.split_at_mut(node.first_unit);
    let (exponents, own_exponents) = room.exponents.split_at_mut(node.first_entry);
    let Some(weights) = room.coefficients.as_chunks::<K>().0.first_chunk::<J>() else { return };
    let entries = own.as_chunks_mut::<J>().0.iter_mut().zip(own_exponents);
    for (entry, (out, exponent)) in entries.enumerate().take(node.entries) {
        let (at_a, at_b) = (map_a[entry], map_b[entry]);
        let (a, b) =
            (read::<K>(below, of_a.first_unit, at_a), read::<K>(below, of_b.first_unit, at_b));
        let mut products = [simd.splat_f32s(0.0); K];
        let mut top = simd.splat_f32s(0.0);
        for unit in 0..K {
            products[unit] = simd.mul_f32s(load::<S>(&a[unit]), load::<S>(&b[unit]));
            top = simd.max_f32s(top, products[unit]);
        }
        let (down, taken) = normaliser(simd, top);
        let a = integers::<S>(simd, &exponents[of_a.first_entry + at_a as usize]);
        let b = integers::<S>(simd, &exponents[of_b.first_entry + at_b as usize]);
        let sum = simd.add_i32s(simd.add_i32s(a, b), taken);
        store::<S>(exponent, simd.transmute_f32s_i32s(sum));
        for product in &mut products {
            *product = simd.mul_f32s(*product, down);
        }
        for (out, weights) in out.iter_mut().zip(weights) {
            let mut sum = simd.mul_f32s(load::<S>(&weights[0]), products[0]);
            for unit in 1..K {
                sum = simd.mul_add_e_f32s(load::<S>(&weights[unit]), products[unit], sum);
            }
            store::<S>(out, sum);
        }
    }
}

#[inline(always)]
fn integers<S: Simd>(simd: S, lanes: &Lanes) -> S::i32s {
    simd.transmute_i32s_f32s(load::<S>(lanes))
}

#[inline(always)]
fn product_sum_back<S: Simd, const K: usize, const J: usize>(
    simd: S,
    node: &Node,
    maps: [&[u32]; 2],
    first: [usize; 2],
    room: &mut Room<'_>,
) {
    let Some(weights) = room.coefficients.as_chunks::<K>().0.first_chunk::<J>() else { return };
    let (gradients, d) = room.gradients.split_at_mut(node.first_unit);
    let d = &d.as_chunks::<J>().0[..node.entries];
    let products = &mut room.products.as_chunks_mut::<K>().0[..node.entries];
    for (entry, (d, products)) in d.iter().zip(&mut *products).enumerate() {
        let at = maps.map(|map| map[entry]);
        let a = read::<K>(room.values, first[0], at[0]);
        let b = read::<K>(room.values, first[1], at[1]);
        let mut top = simd.splat_f32s(0.0);
        for unit in 0..K {
            let product = simd.mul_f32s(load::<S>(&a[unit]), load::<S>(&b[unit]));
            top = simd.max_f32s(top, product);
            store::<S>(&mut products[unit], product);
        }
        let (down, _) = normaliser(simd, top);
        let mut through = [simd.splat_f32s(0.0); K];
        for (d, weights) in d.iter().zip(weights) {
            let d = load::<S>(d);
            for unit in 0..K {
                through[unit] = simd.mul_add_e_f32s(load::<S>(&weights[unit]), d, through[unit]);
            }
        }
        for product in products {
            store::<S>(product, simd.mul_f32s(load::<S>(product), down));
        }
        for (side, other) in [(0, b), (1, a)] {
            let to = &mut gradients[first[side] + at[side] as usize * K..][..K];
            for unit in 0..K {
                // A scaled factor is at most one by a unit of the other; a scaled gradient might overflow.
                let other = simd.mul_f32s(load::<S>(&other[unit]), down);
                let sum = simd.mul_add_e_f32s(through[unit], other, load::<S>(&to[unit]));
                store::<S>(&mut to[unit], sum);
            }
        }
    }
    for (unit, d_weights) in
        room.d_coefficients.as_chunks_mut::<K>().0.iter_mut().enumerate().take(J)
    {
        let mut sums = [simd.splat_f32s(0.0); K];
        for (d, products) in d.iter().zip(&*products) {
            let d = load::<S>(&d[unit]);
            for col in 0..K {
                sums[col] = simd.mul_add_e_f32s(d, load::<S>(&products[col]), sums[col]);
            }
        }
        for (to, sum) in d_weights.iter_mut().zip(sums) {
            store::<S>(to, sum);
        }
    }
}
