//! Data sets that stay on the device: copied once, then a batch is its row numbers.

use std::sync::Arc;

use pulp::bytemuck::cast_slice;

use super::device::{Buffer, Device};
use super::executable::{DeviceExecutable, upload};
use crate::data::Dataset;
use crate::diag::Diagnostic;
use crate::variables::VarKind;

/// Values of a data set that are copied at a time.
const PIECE: usize = 1 << 20;

/// The byte of a missing value: categories of up to so many states are bytes.
const MISSING: u8 = u8::MAX;

/// A data set on the device.
pub(super) struct Held {
    identity: Arc<()>,
    buffer: Buffer,
    in_bytes: bool,
}

/// Whether each value of a data set fits in a byte.
fn fits_bytes(data: &Dataset) -> bool {
    let variables = data.variables();
    variables.ids().all(|var| match variables.kind(var) {
        VarKind::Categorical { states } => states <= u32::from(MISSING),
        VarKind::Real => false,
    })
}

impl<D: Device> DeviceExecutable<D> {
    /// Copies a data set to the device, unless it is there or there is no room for it. Returns whether it is there.
    pub(super) fn hold(&mut self, data: &Dataset) -> Result<bool, Diagnostic> {
        if self.held.iter().any(|held| Arc::ptr_eq(&held.identity, data.identity())) {
            return Ok(true);
        }
        let in_bytes = fits_bytes(data);
        let width = if in_bytes { 1 } else { size_of::<f32>() };
        let bytes = (data.rows() * data.columns() * width).max(1);
        // What is free may lie in pieces, so that allocating fails too.
        if bytes > self.device.free()? {
            return Ok(false);
        }
        let Ok(buffer) = self.device.allocate(bytes) else { return Ok(false) };
        self.copy(data, in_bytes, buffer)?;
        self.held.push(Held { identity: data.identity().clone(), buffer, in_bytes });
        Ok(true)
    }

    fn copy(&mut self, data: &Dataset, in_bytes: bool, to: Buffer) -> Result<(), Diagnostic> {
        let mut reals = vec![0.0; data.columns()];
        let (mut piece, mut at) = (Vec::new(), 0);
        for row in 0..data.rows() {
            data.row(row, &mut reals);
            match in_bytes {
                // A missing value is NaN, which no category is.
                true => {
                    piece.extend(reals.iter().map(|&x| if x.is_nan() { MISSING } else { x as u8 }))
                }
                false => piece.extend_from_slice(cast_slice(&reals)),
            }
            if piece.len() >= PIECE || row + 1 == data.rows() {
                self.device.write_at(to, at, &piece)?;
                at += piece.len();
                piece.clear();
            }
        }
        Ok(())
    }

    /// Lets the kernels draw rows of this data set. Returns whether it is on the device.
    pub(super) fn draw_from(&mut self, data: &Dataset) -> bool {
        let is_it = |held: &&Held| Arc::ptr_eq(&held.identity, data.identity());
        let Some(&Held { buffer, in_bytes, .. }) = self.held.iter().find(is_it) else {
            return false;
        };
        self.replace("held", buffer);
        self.set("held_bytes", usize::from(in_bytes));
        true
    }

    /// Sends what the kernels of a batch are told: the words of its updates, and its rows.
    pub(super) fn send_order(
        &mut self,
        rows: &[u32],
        updates: impl Iterator<Item = i32>,
    ) -> Result<(), Diagnostic> {
        let order = &mut self.staging.order;
        order.clear();
        order.extend(updates);
        order.extend(rows.iter().map(|&row| row as i32));
        let buffer = self.buffer("updates");
        upload(&mut self.device, buffer, &self.staging.order)
    }
}
