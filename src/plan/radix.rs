//! Numbers of the entries of tables: sub-assignments in mixed radix, and what they are in tables of fewer columns.

use super::kinds::Kind;
use super::{Projection, Spaces};

/// For each table what states of its columns add to an entry's number, and for each projection between tables
/// what each entry becomes.
pub(super) fn between_tables(
    spaces: &Spaces,
    kinds: &[Kind],
    missing: bool,
) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let radix: Vec<Vec<u32>> = (0..kinds.len())
        .map(|space| match kinds[space] {
            Kind::Table(_) => radix(spaces, space, missing),
            Kind::Listed | Kind::Each => Vec::new(),
        })
        .collect();
    let map = |projection: &Projection| {
        let (from, to) = (projection.from as usize, projection.to as usize);
        match kinds[from] {
            Kind::Table(entries) => {
                let columns = |space: usize| &spaces.spaces[space].columns[..];
                project(entries, (columns(from), &radix[from]), (columns(to), &radix[to]))
            }
            Kind::Listed | Kind::Each => Vec::new(),
        }
    };
    let maps = spaces.projections.iter().map(map).collect();
    (radix, maps)
}

/// The place values of a space's columns, the last counting for one.
fn radix(spaces: &Spaces, space: usize, missing: bool) -> Vec<u32> {
    let mut place = 1;
    let columns = spaces.spaces[space].columns.iter().rev();
    let mut radix: Vec<u32> = columns
        .map(|&column| {
            let states = spaces.states[column as usize] + u32::from(missing);
            place *= states;
            place / states
        })
        .collect();
    radix.reverse();
    radix
}

/// What each entry of a table is in a table of some of its columns.
fn project(entries: u32, from: (&[u32], &[u32]), to: (&[u32], &[u32])) -> Vec<u32> {
    let kept: Vec<(u32, u32, u32)> = (from.0.iter().enumerate())
        .filter_map(|(at, column)| {
            let kept = to.0.iter().position(|other| other == column)?;
            let above = if at == 0 { entries } else { from.1[at - 1] };
            Some((from.1[at], above / from.1[at], to.1[kept]))
        })
        .collect();
    let entry =
        |entry: u32| kept.iter().map(|&(place, states, to)| entry / place % states * to).sum();
    (0..entries).map(entry).collect()
}
