//! What a plan takes on a device is known before it runs, and kept within a limit by fewer blocks and shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pcc::compile::Compiled;
use pcc::diag::{Code, Diagnostic};
use pcc::engine::Executable;
use pcc::engine::cuda::{Buffer, Device, DeviceExecutable, Launch, Layout, Specialisation};
use pcc::plan::{Purpose, Schedule};

use super::{Lost, case, general, planned, skipped, specialised};
use crate::agreement::{assert_agree, by_reference};
use crate::support::cpu_device::{self, CpuDevice, Order};

/// A device that counts what is allocated.
struct Counted {
    device: CpuDevice,
    allocated: Arc<AtomicUsize>,
}

impl Device for Counted {
    fn free(&self) -> Result<usize, Diagnostic> {
        self.device.free()
    }

    fn allocate(&mut self, bytes: usize) -> Result<Buffer, Diagnostic> {
        self.allocated.fetch_add(bytes, Ordering::Relaxed);
        self.device.allocate(bytes)
    }

    fn write_at(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), Diagnostic> {
        self.device.write_at(buffer, at, bytes)
    }

    fn read(&mut self, buffer: Buffer, bytes: &mut [u8]) -> Result<(), Diagnostic> {
        self.device.read(buffer, bytes)
    }

    fn launch(&mut self, launches: &[Launch], buffers: &[u64]) -> Result<(), Diagnostic> {
        self.device.launch(launches, buffers)
    }

    fn arithmetic(&self) -> String {
        self.device.arithmetic()
    }
}

/// A plan to train, laid out for kernels of this specialisation within so many bytes.
fn within(
    compiled: &Compiled,
    rows: usize,
    kernels: &Specialisation,
    limit: usize,
) -> Result<Layout, usize> {
    let plan = planned(compiled, Purpose::Train, Schedule::Wide, rows as u32);
    let Specialisation { arenas, .. } = specialised(compiled, &plan);
    Layout::within(compiled, plan, Specialisation { arenas, ..kernels.clone() }, limit)
}

#[test]
fn a_plan_takes_the_bytes_it_says_and_within_fewer_it_computes_the_same() {
    let Some(kernels) = cpu_device::Compiled::new(general(32, false)) else {
        return skipped("memory on the processor", "there is no C++ compiler");
    };
    for seed in 0..6 {
        let (compiled, flat, data) = case(seed);
        let double: Vec<f64> = flat.iter().map(|&value| value.into()).collect();
        let expected = by_reference(&compiled, &double, &data);
        let within = |limit| within(&compiled, data.rows(), &kernels.specialisation, limit);
        let all = within(usize::MAX).unwrap().bytes();
        let least = within(0).err().unwrap();
        assert!(least < all, "seed {seed}: nothing can be spared of {all} bytes");
        assert_eq!(within(least - 1).err(), Some(least), "seed {seed}");
        for limit in [all, (least + all) / 2, least] {
            let layout = within(limit).unwrap();
            let bytes = layout.bytes();
            assert!(bytes <= limit, "seed {seed}: {bytes} bytes within {limit}");
            let allocated = Arc::new(AtomicUsize::new(0));
            let device = Counted { device: kernels.start(Order::Ascending), allocated };
            let allocated = Arc::clone(&device.allocated);
            let mut engine = DeviceExecutable::new(compiled.clone(), layout, device, 1).unwrap();
            let rows: Vec<u32> = (0..data.rows() as u32).collect();
            let (mut log_p, mut gradient) =
                (vec![f64::NAN; rows.len()], vec![f32::NAN; flat.len()]);
            engine.gradient(&flat, &data, &rows, &mut log_p, &mut gradient);
            assert_eq!(engine.fault(), None);
            assert_eq!(allocated.load(Ordering::Relaxed), bytes, "seed {seed}, within {limit}");
            let name = format!("seed {seed}, within {limit}");
            assert_agree(&name, &compiled, &expected, (&log_p, &gradient));
        }
    }
}

/// A device that has so many bytes free.
struct Full(usize);

impl Device for Full {
    fn free(&self) -> Result<usize, Diagnostic> {
        Ok(self.0)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Buffer, Diagnostic> {
        Lost.allocate(bytes)
    }

    fn write_at(&mut self, _: Buffer, _: usize, _: &[u8]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn read(&mut self, _: Buffer, _: &mut [u8]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn launch(&mut self, _: &[Launch], _: &[u64]) -> Result<(), Diagnostic> {
        Ok(())
    }

    fn arithmetic(&self) -> String {
        String::new()
    }
}

#[test]
fn a_plan_that_the_device_has_no_room_for_is_refused_with_both_figures() {
    let (compiled, _, data) = case(0);
    let layout = || within(&compiled, data.rows(), &general(32, false), usize::MAX).unwrap();
    let bytes = layout().bytes();
    let made = |free| DeviceExecutable::new(compiled.clone(), layout(), Full(free), 1);
    assert!(made(bytes).is_ok());
    let fault = made(bytes - 1).err().unwrap();
    assert_eq!(fault.code, Code::E0702);
    let says = format!("takes {bytes} bytes on the device, which has {} bytes free", bytes - 1);
    assert!(fault.message.ends_with(&says), "{}", fault.message);
}
