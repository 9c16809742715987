//! What holds of the segments of a bounded plan.

use super::super::{Bounded, NOWHERE, Place, Plan, Purpose};
use super::arena::Arena;

/// Waves cover the groups in order; no part imports what its own wave makes; and what a part hands on is
/// still there when it is read and, to train, to the end.
pub(super) fn check_bounded(plan: &Plan, bounded: &Bounded) -> Result<(), &'static str> {
    if bounded.places.len() != plan.parts.len() || plan.shards != 1 {
        return Err("segments without places, or in shards");
    }
    check_readers(plan)?;
    let (mut rows, mut exponents) = (Arena::new(bounded.rows), Arena::new(bounded.exponents));
    let holds = |rows: &mut Arena, exponents: &mut Arena, part: usize, put: bool| {
        let (Place { rows: row, exponent }, number) = (bounded.places[part], part as u32);
        let units = plan.output_units(&plan.parts[part]);
        if row == NOWHERE || exponent == NOWHERE {
            return Err("a segment without a place");
        }
        let done = match put {
            true => rows.put(row, units, number).and(exponents.put(exponent, 1, number)),
            false => rows.expect(row, units, number).and(exponents.expect(exponent, 1, number)),
        };
        done.map_err(|_| "what a segment hands on has no place, or not until it is read")
    };
    let mut next = 0;
    let head = plan.parts.len() - 1;
    for &(first, end) in &bounded.waves {
        if first != next || end <= first || end as usize > plan.groups.len() {
            return Err("waves that do not cover the groups in order");
        }
        next = end;
        let parts = plan.parts_of_wave((first, end));
        if parts.contains(&head) && parts.len() > 1 {
            return Err("a wave of the head and others");
        }
        for part in parts.clone() {
            let imports = &plan.parts[part].imports;
            if !imports.is_empty() && parts.len() > 1 {
                return Err("a segment that imports in a wave with others");
            }
            let mut read = imports.iter();
            read.try_for_each(|&from| holds(&mut rows, &mut exponents, from as usize, false))?;
        }
        let mut made = parts.filter(|&part| part != head);
        made.try_for_each(|part| holds(&mut rows, &mut exponents, part, true))?;
    }
    if next as usize != plan.groups.len() {
        return Err("waves that leave out a group");
    }
    match plan.purpose {
        Purpose::Evaluate => Ok(()),
        Purpose::Query => Err("a bounded plan for queries"),
        Purpose::Train => {
            (0..head).try_for_each(|part| holds(&mut rows, &mut exponents, part, false))
        }
    }
}

/// A segment hands one value on, and one other reads it.
fn check_readers(plan: &Plan) -> Result<(), &'static str> {
    let mut readers = vec![0; plan.parts.len()];
    for part in &plan.parts {
        if plan.program(part).outputs.len() != 1 {
            return Err("a segment that hands on more than one value, or none");
        }
        part.imports.iter().for_each(|&from| readers[from as usize] += 1);
    }
    match plan.below_head().iter().zip(&readers).all(|(_, &readers)| readers == 1) {
        true => Ok(()),
        false => Err("a segment that nothing reads, or more than one"),
    }
}
