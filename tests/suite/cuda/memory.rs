//! What a plan takes on a device is known before it runs, and kept within a limit by fewer blocks and shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pcc::compile::Compiled;
use pcc::diag::{Code, Diagnostic};
use pcc::engine::Executable;
use pcc::engine::cuda::{Buffer, Device, DeviceExecutable, Launch, Layout, Specialisation};
use pcc::plan::{Purpose, Schedule};

use super::{Lost, by_oracle, case, general, planned, skipped, specialised};
use crate::agreement::assert_agree;
use crate::support::cpu_device::{self, CpuDevice, Order};
use crate::support::steps::{BATCH, run};

/// A device that has so many bytes, and counts what is allocated.
struct Counted {
    device: CpuDevice,
    bytes: usize,
    allocated: Arc<AtomicUsize>,
}

impl Counted {
    fn new(kernels: &cpu_device::Compiled, bytes: usize) -> Self {
        let device = kernels.start(Order::Ascending);
        Counted { device, bytes, allocated: Arc::default() }
    }
}

impl Device for Counted {
    fn free(&self) -> Result<usize, Diagnostic> {
        Ok(self.bytes - self.allocated.load(Ordering::Relaxed))
    }

    fn allocate(&mut self, bytes: usize) -> Result<Buffer, Diagnostic> {
        assert!(bytes <= self.free().unwrap(), "more than is free");
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
        let expected = by_oracle(&compiled, &flat, &data);
        let within = |limit| within(&compiled, data.rows(), &kernels.specialisation, limit);
        let all = within(usize::MAX).unwrap().bytes();
        let least = within(0).err().unwrap();
        assert!(least < all, "seed {seed}: nothing can be spared of {all} bytes");
        assert_eq!(within(least - 1).err(), Some(least), "seed {seed}");
        // What a user allows, and what a device has.
        for (allowed, has) in
            [all, (least + all) / 2, least].into_iter().flat_map(|n| [(n, usize::MAX), (all, n)])
        {
            let limit = allowed.min(has);
            let layout = within(allowed).unwrap();
            let bytes = within(limit).unwrap().bytes();
            assert!(bytes <= limit, "seed {seed}: {bytes} bytes within {limit}");
            let device = Counted::new(&kernels, has);
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

#[test]
fn a_run_whose_data_have_no_room_goes_on_batch_by_batch() {
    let Some(kernels) = cpu_device::Compiled::new(general(64, true)) else {
        return skipped("data without room on the processor", "there is no C++ compiler");
    };
    let (compiled, flat, data) = case(0);
    let layout = || within(&compiled, BATCH, &kernels.specialisation, usize::MAX).unwrap();
    let engine = |bytes| {
        let device = Counted::new(&kernels, bytes);
        DeviceExecutable::new(compiled.clone(), layout(), device, 1).unwrap()
    };
    // As many bytes as the plan takes, or too few for the data by one; a value is a byte.
    let (plan, held) = (layout().bytes(), data.rows() * data.columns());
    let zeros = vec![0.0; flat.len()];
    let moments = [&zeros[..]; 2];
    let case = (&*compiled, &flat[..], &data);
    let whole = run(&mut engine(usize::MAX), case, None, None).unwrap();
    for bytes in [plan, plan + held - 1] {
        let mut full = engine(bytes);
        assert!(!full.stepper().unwrap().begin(&data, &flat, moments));
        assert_eq!(full.fault(), None);
        assert_eq!(run(&mut full, case, None, None).unwrap(), whole);
    }
    assert!(engine(plan + held).stepper().unwrap().begin(&data, &flat, moments));
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
    let layout = |limit| within(&compiled, data.rows(), &general(32, false), limit);
    let all = || layout(usize::MAX).unwrap();
    let least = layout(0).err().unwrap();
    let made = |free| DeviceExecutable::new(compiled.clone(), all(), Full(free), 1);
    assert!(made(least).is_ok());
    let fault = made(least - 1).err().unwrap();
    assert_eq!(fault.code, Code::E0705);
    let says =
        format!("takes {least} bytes on the device at least, which has {} bytes free", least - 1);
    assert!(fault.message.ends_with(&says), "{}", fault.message);
}
