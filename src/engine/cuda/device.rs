//! What the engine asks of a device: memory, copies and launches, in order.
//!
//! The engine is written against this trait, so that all of it but the driver's calls runs in tests without
//! a device: there the kernels are compiled for the processor. Multi-device reductions would be another
//! implementor.

use crate::diag::Diagnostic;

/// A kernel of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// The rows of a batch, from the data set that is held.
    GatherRows,
    /// Logits, by the network.
    MakeLogits,
    /// Weights of logits, and tables of leaves.
    MakeWeights,
    /// Which parts may run without their guard.
    Certify,
    /// Every part below the head, forward.
    ForwardParts,
    /// The head, forward and back.
    Head,
    /// Every part below the head, forward again and back.
    BackwardParts,
    /// The gradients of all shards, or the flows of all parts, summed.
    SumShards,
    /// The gradients by logits, and by leaves.
    WeightsBack,
    /// Those by embeddings and the network.
    LogitsBack,
    /// Those by the network, summed.
    SumNetwork,
    /// Whether a step can be taken.
    Inspect,
    /// The optimiser's step.
    UpdateParameters,
    /// The logarithms of all coefficients.
    TakeLogs,
    /// Every part below the head by max-product, forward.
    BestParts,
    /// The head by max-product, and down.
    BestHead,
    /// Parts by max-product again, and down.
    CompleteParts,
}

impl Kernel {
    /// All kernels, in the order in which a step of training launches them; then those of completions.
    pub const ALL: [Kernel; 17] = [
        Kernel::GatherRows,
        Kernel::MakeLogits,
        Kernel::MakeWeights,
        Kernel::Certify,
        Kernel::ForwardParts,
        Kernel::Head,
        Kernel::BackwardParts,
        Kernel::SumShards,
        Kernel::WeightsBack,
        Kernel::LogitsBack,
        Kernel::SumNetwork,
        Kernel::Inspect,
        Kernel::UpdateParameters,
        Kernel::TakeLogs,
        Kernel::BestParts,
        Kernel::BestHead,
        Kernel::CompleteParts,
    ];

    /// What ends a step, once the gradients are there.
    pub const FINISH: [Kernel; 2] = [Kernel::Inspect, Kernel::UpdateParameters];

    /// What makes weights of parameters.
    pub const MAKE: [Kernel; 3] = [Kernel::MakeLogits, Kernel::MakeWeights, Kernel::Certify];

    /// What evaluates a batch.
    pub const EVALUATE: [Kernel; 2] = [Kernel::ForwardParts, Kernel::Head];

    /// What evaluates a batch and goes back: for queries, to draw its rows.
    pub const DRAW: [Kernel; 3] = [Kernel::ForwardParts, Kernel::Head, Kernel::BackwardParts];

    /// What completes a batch, once logarithms are there.
    pub const COMPLETE: [Kernel; 3] = [Kernel::BestParts, Kernel::BestHead, Kernel::CompleteParts];

    /// What evaluates a batch and sums its gradients by coefficients, or its flows.
    pub const COUNT: [Kernel; 4] =
        [Kernel::ForwardParts, Kernel::Head, Kernel::BackwardParts, Kernel::SumShards];

    /// What evaluates a batch and takes its gradients back.
    pub const PASSES: [Kernel; 7] = [
        Kernel::ForwardParts,
        Kernel::Head,
        Kernel::BackwardParts,
        Kernel::SumShards,
        Kernel::WeightsBack,
        Kernel::LogitsBack,
        Kernel::SumNetwork,
    ];

    /// The name in the module.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::GatherRows => "gather_rows",
            Kernel::MakeLogits => "make_logits",
            Kernel::MakeWeights => "make_weights",
            Kernel::Certify => "certify",
            Kernel::ForwardParts => "forward_parts",
            Kernel::Head => "head",
            Kernel::BackwardParts => "backward_parts",
            Kernel::SumShards => "sum_shards",
            Kernel::WeightsBack => "weights_back",
            Kernel::LogitsBack => "logits_back",
            Kernel::SumNetwork => "sum_network",
            Kernel::Inspect => "inspect",
            Kernel::UpdateParameters => "update_parameters",
            Kernel::TakeLogs => "take_logs",
            Kernel::BestParts => "best_parts",
            Kernel::BestHead => "best_head",
            Kernel::CompleteParts => "complete_parts",
        }
    }
}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which.
    pub kernel: Kernel,
    /// Blocks.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared_bytes: u32,
}

/// Memory of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Which allocation of the device, from zero.
    pub index: usize,
    /// Where it lies, as the kernels see it.
    pub address: u64,
    /// Its size.
    pub bytes: usize,
}

/// A device with a loaded module. All calls take effect in the order in which they are made; a fault of
/// one may be reported by a later one.
pub trait Device: Send {
    /// Bytes of memory that are free.
    ///
    /// # Errors
    /// E0701 for a lost device.
    fn free(&self) -> Result<usize, Diagnostic>;

    /// Memory of undefined contents.
    ///
    /// # Errors
    /// E0701 where there is none left.
    fn allocate(&mut self, bytes: usize) -> Result<Buffer, Diagnostic>;

    /// Copies to a buffer, from its byte `at` on.
    ///
    /// # Errors
    /// E0701 for a lost device; for more bytes than the buffer has.
    fn write_at(&mut self, buffer: Buffer, at: usize, bytes: &[u8]) -> Result<(), Diagnostic>;

    /// Copies to the beginning of a buffer.
    ///
    /// # Errors
    /// As [`Device::write_at`].
    fn write(&mut self, buffer: Buffer, bytes: &[u8]) -> Result<(), Diagnostic> {
        self.write_at(buffer, 0, bytes)
    }

    /// Copies from the beginning of a buffer, after all that was launched before.
    ///
    /// # Errors
    /// E0701 for a lost device; for more bytes than the buffer has.
    fn read(&mut self, buffer: Buffer, bytes: &mut [u8]) -> Result<(), Diagnostic>;

    /// Launches kernels, one after the other, on `Buffers`, given as its words.
    ///
    /// # Errors
    /// E0701 for a launch that the device refuses.
    fn launch(&mut self, launches: &[Launch], buffers: &[u64]) -> Result<(), Diagnostic>;

    /// What the bits of results depend on: the device's architecture and how it was compiled for.
    fn arithmetic(&self) -> String;
}
