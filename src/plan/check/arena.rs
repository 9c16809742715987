//! What lies where in an arena.

use super::super::NOWHERE;

/// What each place of an arena holds.
pub(super) struct Arena {
    holds: Vec<u32>,
}

impl Arena {
    /// Nothing, in so many places.
    pub(super) fn new(len: u32) -> Self {
        Arena { holds: vec![NOWHERE; len as usize] }
    }

    fn range(&self, at: u32, len: u32) -> Result<std::ops::Range<usize>, String> {
        let end = u64::from(at) + u64::from(len);
        match end <= self.holds.len() as u64 {
            true => Ok(at as usize..end as usize),
            false => Err(format!("places {at}..{end} lie outside their arena")),
        }
    }

    /// A value takes its places.
    pub(super) fn put(&mut self, at: u32, len: u32, value: u32) -> Result<(), String> {
        if at != NOWHERE {
            let range = self.range(at, len)?;
            self.holds[range].fill(value);
        }
        Ok(())
    }

    /// A value still has its places.
    pub(super) fn expect(&self, at: u32, len: u32, value: u32) -> Result<(), String> {
        if at == NOWHERE {
            return Ok(());
        }
        match self.holds[self.range(at, len)?].iter().find(|&&held| held != value) {
            Some(&NOWHERE) => Err(format!("v{value} is read where nothing was written")),
            Some(held) => Err(format!("v{value} was overwritten by v{held}")),
            None => Ok(()),
        }
    }
}
