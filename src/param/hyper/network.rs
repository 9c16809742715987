//! The network of the hyper parameterizer, over tiles of up to 64 sectors.
//!
//! A call packs the output layer down to the corner that its sectors take, then runs every layer
//! over one tile after the other. The backward pass recomputes the forward pass, so nothing is kept
//! between calls; gradients by the weights gather in partial sums over all tiles of a call, and are
//! brought to an end once.

use std::ops::Range;

use crate::param::{Block, Generator, Shape, TileGenerator};
use crate::simd::{After, Kernels, LANES, Lanes, Matrix, PARTIAL, TileTask, align, take};

/// The layers, and where they lie among the shared tensors.
#[derive(Clone, Debug)]
pub(super) struct Network {
    /// All layers but the last.
    hidden: Vec<Layer>,
    /// The last, of which a sector takes a corner.
    output: Layer,
    /// Columns of the largest sector.
    cols: usize,
}

/// A linear layer among parameters: weight [outputs][inputs], then bias [outputs].
#[derive(Clone, Copy, Debug)]
struct Layer {
    start: usize,
    inputs: usize,
    outputs: usize,
}

impl Layer {
    fn weight(self) -> Range<usize> {
        self.start..self.start + self.inputs * self.outputs
    }

    fn bias(self) -> Range<usize> {
        self.weight().end..self.weight().end + self.outputs
    }

    fn all(self) -> Range<usize> {
        self.start..self.bias().end
    }

    fn matrix<T>(self, parameters: &[T]) -> Matrix<'_, T> {
        Matrix::row_major(&parameters[self.weight()], self.outputs, self.inputs)
    }
}

impl Network {
    /// Layers between these widths, of which the first is that of the embedding; the output is
    /// row-major with so many columns.
    pub(super) fn new(widths: &[usize], cols: usize) -> Self {
        let mut hidden = Vec::new();
        let mut output = Layer { start: 0, inputs: 0, outputs: 0 };
        for (index, pair) in widths.windows(2).enumerate() {
            if index > 0 {
                hidden.push(output);
            }
            output = Layer { start: output.all().end, inputs: pair[0], outputs: pair[1] };
        }
        Network { hidden, output, cols }
    }

    /// Numbers in an embedding.
    fn embedding(&self) -> usize {
        self.hidden.first().unwrap_or(&self.output).inputs
    }

    /// The output layer cut down to the corner of a shape, as it lies when packed.
    fn corner(&self, shape: Shape) -> Layer {
        Layer { start: 0, inputs: self.output.inputs, outputs: shape.len() }
    }

    /// The output that each entry of a shape reads.
    fn outputs_of(&self, shape: Shape) -> impl Iterator<Item = usize> {
        let (rows, cols, step) = (shape.rows as usize, shape.cols as usize, self.cols);
        (0..rows).flat_map(move |row| row * step..row * step + cols)
    }

    /// Lengths of the parts of a workspace, in its order.
    fn parts(&self) -> [usize; 6] {
        let layers = || self.hidden.iter().copied().chain([self.output]);
        let units: usize = layers().map(|layer| layer.inputs).sum();
        let widest = layers().map(|layer| layer.inputs.max(layer.outputs)).fold(0, usize::max);
        let (all, corner) = (self.output.all().end, self.output.all().len());
        [units * LANES, widest * LANES, widest * LANES, all * PARTIAL, corner, corner]
    }

    fn workspace<'s, T: Lanes>(&self, scratch: &'s mut [T]) -> Workspace<'s, T> {
        let mut rest = align(scratch);
        let [inputs, upper, lower, sums, corner, d_corner] =
            self.parts().map(|len| take(&mut rest, len));
        Workspace { inputs, upper, lower, sums, corner, d_corner }
    }
}

/// What a call works on besides its arguments.
struct Workspace<'s, T> {
    /// The input tiles of all layers, one after the other.
    inputs: &'s mut [T],
    /// The output tile, or the gradient by it, or that by the output of any layer.
    upper: &'s mut [T],
    /// The gradient by the input of that layer.
    lower: &'s mut [T],
    /// Partial sums of the gradient by each parameter, those of the corner last.
    sums: &'s mut [T],
    /// The packed corner.
    corner: &'s mut [T],
    /// The gradient by it.
    d_corner: &'s mut [T],
}

/// The arguments that both directions share.
struct Call<'a, T> {
    network: &'a Network,
    own: &'a [T],
    shared: &'a [T],
    block: Block<'a>,
    layout: Layout,
}

/// How the logits of a block lie.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// `[sectors][entries]`.
    Rows,
    /// `[tiles][entries][LANES]`.
    Tiles,
}

impl<T: Lanes> Call<'_, T> {
    /// Packs the corner of the output layer.
    fn pack(&self, corner: &mut [T]) {
        let (from, to) = (self.network.output, self.network.corner(self.block.shape));
        let (weight, bias) = (&self.shared[from.weight()], &self.shared[from.bias()]);
        for (entry, output) in self.network.outputs_of(self.block.shape).enumerate() {
            corner[entry * to.inputs..][..to.inputs]
                .copy_from_slice(&weight[output * to.inputs..][..to.inputs]);
            corner[to.bias()][entry] = bias[output];
        }
    }

    /// Adds the gradient by the packed corner to that by the output layer.
    fn unpack(&self, d_corner: &[T], d_shared: &mut [T]) {
        let (to, from) = (self.network.output, self.network.corner(self.block.shape));
        let (d_weight, d_bias) = d_shared[to.all()].split_at_mut(to.weight().len());
        for (entry, output) in self.network.outputs_of(self.block.shape).enumerate() {
            let d_row = &mut d_weight[output * to.inputs..][..to.inputs];
            let packed = &d_corner[entry * to.inputs..][..to.inputs];
            d_row.iter_mut().zip(packed).for_each(|(d, &packed)| *d += packed);
            d_bias[output] += d_corner[from.bias()][entry];
        }
    }

    /// Fills a tile with the embeddings of sectors.
    #[inline(always)]
    fn embeddings<K: Kernels<T>>(&self, kernels: K, sectors: &[u32], tile: &mut [T]) {
        let width = self.network.embedding();
        let first = sectors[0] as usize;
        if sectors.iter().zip(first..).all(|(&sector, next)| sector as usize == next) {
            let rows = &self.own[first * width..][..sectors.len() * width];
            return kernels.rows_to_lanes(rows, width, tile);
        }
        let tile = &mut tile[..width * LANES];
        if sectors.len() < LANES {
            tile.fill(T::zero());
        }
        for (lane, &sector) in sectors.iter().enumerate() {
            let row = &self.own[sector as usize * width..][..width];
            for (unit, &value) in row.iter().enumerate() {
                tile[unit * LANES + lane] = value;
            }
        }
    }

    /// Runs all hidden layers over one tile of sectors, and leaves the input of each layer.
    #[inline(always)]
    fn hidden<K: Kernels<T>>(&self, kernels: K, sectors: &[u32], inputs: &mut [T]) {
        self.embeddings(kernels, sectors, inputs);
        let mut rest = inputs;
        for layer in &self.network.hidden {
            let input = take(&mut rest, layer.inputs * LANES);
            let out = &mut rest[..layer.outputs * LANES];
            let (matrix, bias) = (layer.matrix(self.shared), &self.shared[layer.bias()]);
            kernels.matrix_times_lanes(matrix, bias, input, out, After::Relu);
        }
    }
}

struct Forward<'a, T> {
    call: Call<'a, T>,
    work: Workspace<'a, T>,
    out: &'a mut [T],
}

impl<T: Lanes> TileTask<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernels<T>>(self, kernels: K) {
        let Forward { call, work, out } = self;
        let corner = call.network.corner(call.block.shape);
        call.pack(work.corner);
        let (matrix, bias) = (corner.matrix(work.corner), &work.corner[corner.bias()]);
        let last = (work.inputs.len() - corner.inputs * LANES)..;
        let upper = &mut work.upper[..corner.outputs * LANES];
        for (sectors, out) in
            call.block.sectors.chunks(LANES).zip(out.chunks_mut(LANES * corner.outputs))
        {
            call.hidden(kernels, sectors, work.inputs);
            let input = &work.inputs[last.clone()];
            if call.layout == Layout::Tiles {
                kernels.matrix_times_lanes(matrix, bias, input, out, After::Store);
                continue;
            }
            kernels.matrix_times_lanes(matrix, bias, input, upper, After::Store);
            kernels.lanes_to_rows(upper, corner.outputs, out);
        }
    }
}

struct Backward<'a, T> {
    call: Call<'a, T>,
    work: Workspace<'a, T>,
    d_logits: &'a [T],
    d_own: &'a mut [T],
    d_shared: &'a mut [T],
}

impl<T: Lanes> TileTask<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernels<T>>(self, kernels: K) {
        let Backward { call, mut work, d_logits, d_own, d_shared } = self;
        let (network, shape) = (call.network, call.block.shape);
        let width = network.embedding();
        call.pack(work.corner);
        work.sums.fill(T::zero());
        let tiles = call.block.sectors.chunks(LANES);
        let gradients = d_logits.chunks(LANES * shape.len()).zip(d_own.chunks_mut(LANES * width));
        for (sectors, (d_logits, d_own)) in tiles.zip(gradients) {
            call.hidden(kernels, sectors, work.inputs);
            match call.layout {
                Layout::Rows => kernels.rows_to_lanes(d_logits, shape.len(), work.upper),
                Layout::Tiles => work.upper[..d_logits.len()].copy_from_slice(d_logits),
            }
            call.tile_backward(kernels, &mut work);
            kernels.lanes_to_rows(work.upper, width, d_own);
        }
        let (hidden, corner) = work.sums.split_at(network.output.start * PARTIAL);
        kernels.add_sums(hidden, &mut d_shared[..network.output.start]);
        let packed = &mut work.d_corner[..network.corner(shape).all().len()];
        packed.fill(T::zero());
        kernels.add_sums(&corner[..packed.len() * PARTIAL], packed);
        call.unpack(packed, d_shared);
    }
}

impl<T: Lanes> Call<'_, T> {
    /// Takes one tile of gradients by the logits, in `work.upper`, back through all layers to the
    /// gradient by the embeddings, which it leaves there.
    #[inline(always)]
    fn tile_backward<K: Kernels<T>>(&self, kernels: K, work: &mut Workspace<'_, T>) {
        let corner = self.network.corner(self.block.shape);
        let mut sums = Layer { start: self.network.output.start, ..corner };
        let mut matrix = corner.matrix(work.corner);
        let mut end = work.inputs.len();
        let mut below = self.network.hidden.iter().rev();
        loop {
            let start = end - matrix.cols * LANES;
            let input = &work.inputs[start..end];
            let d_out = &work.upper[..matrix.rows * LANES];
            let d_in = &mut work.lower[..matrix.cols * LANES];
            let next = below.next();
            let partial = |range: Range<usize>| range.start * PARTIAL..range.end * PARTIAL;
            kernels.add_outer(d_out, input, &mut work.sums[partial(sums.weight())]);
            kernels.add_rows(d_out, &mut work.sums[partial(sums.bias())]);
            let after = if next.is_some() { After::Where(input) } else { After::Store };
            kernels.matrix_times_lanes(matrix.transposed(), &[], d_out, d_in, after);
            std::mem::swap(&mut work.upper, &mut work.lower);
            let Some(&layer) = next else { return };
            (sums, matrix, end) = (layer, layer.matrix(self.shared), start);
        }
    }
}

impl Network {
    fn forward<T: Lanes>(&self, call: Call<'_, T>, out: &mut [T], scratch: &mut [T]) {
        if !call.block.is_empty() && !call.block.shape.is_empty() {
            T::run(Forward { call, work: self.workspace(scratch), out });
        }
    }

    fn back<T: Lanes>(
        &self,
        call: Call<'_, T>,
        d_logits: &[T],
        d_own: &mut [T],
        d_shared: &mut [T],
        scratch: &mut [T],
    ) {
        if call.block.is_empty() || call.block.shape.is_empty() {
            return d_own.fill(T::zero());
        }
        let work = self.workspace(scratch);
        T::run(Backward { call, work, d_logits, d_own, d_shared });
    }
}

impl<T: Lanes> Generator<T> for Network {
    fn on_tiles(&self) -> Option<&dyn TileGenerator<T>> {
        Some(self)
    }

    fn scratch(&self, _sectors: usize) -> usize {
        self.parts().iter().sum::<usize>() + PARTIAL
    }

    fn logits(&self, own: &[T], shared: &[T], block: Block<'_>, out: &mut [T], scratch: &mut [T]) {
        let call = Call { network: self, own, shared, block, layout: Layout::Rows };
        self.forward(call, out, scratch);
    }

    fn backward(
        &self,
        own: &[T],
        shared: &[T],
        block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        d_shared: &mut [T],
        scratch: &mut [T],
    ) {
        let call = Call { network: self, own, shared, block, layout: Layout::Rows };
        self.back(call, d_logits, d_own, d_shared, scratch);
    }
}

impl<T: Lanes> TileGenerator<T> for Network {
    fn tiles(&self, own: &[T], shared: &[T], block: Block<'_>, out: &mut [T], scratch: &mut [T]) {
        let call = Call { network: self, own, shared, block, layout: Layout::Tiles };
        self.forward(call, out, scratch);
    }

    fn backward_tiles(
        &self,
        own: &[T],
        shared: &[T],
        block: Block<'_>,
        d_logits: &[T],
        d_own: &mut [T],
        d_shared: &mut [T],
        scratch: &mut [T],
    ) {
        let call = Call { network: self, own, shared, block, layout: Layout::Tiles };
        self.back(call, d_logits, d_own, d_shared, scratch);
    }
}
