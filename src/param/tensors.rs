//! Named tensors of learnable numbers, in one flat buffer.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::diag::{Code, Diagnostic, nearest};
use crate::ids::{DistId, Id, IdVec, TensorId};
use crate::leaf::{Dist, gaussian};
use crate::real::Real;

/// How a tensor begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// Uniform on [low, high).
    Uniform(f64, f64),
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// These values; uniform on [0, 1) where none is given.
    Mixed(Vec<Option<f64>>),
    /// Leaf parameters: as each of these distributions begins, one after the other.
    Leaves(Vec<DistId>),
}

/// Name, shape and beginning of a tensor, and what the optimiser does with it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name: words with dots between; the first is the name of its group.
    pub name: String,
    /// Its shape; row-major.
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
    /// L2 that the optimiser adds to its gradient; `None`: what the parameterizer asks of all.
    pub decay: Option<f64>,
}

impl TensorSpec {
    /// A tensor without a decay of its own.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, init: Init) -> Self {
        TensorSpec { name: name.into(), shape, init, decay: None }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The group the tensor belongs to: its name up to the first dot.
    pub fn group(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }
}

/// The tensors of a model, in order, and where each lies in one flat buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorSet {
    specs: IdVec<TensorId, TensorSpec>,
    offsets: IdVec<TensorId, usize>,
    len: usize,
}

impl TensorSet {
    /// No tensors yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a tensor.
    pub fn push(&mut self, spec: TensorSpec) -> TensorId {
        self.offsets.push(self.len);
        self.len += spec.len();
        self.specs.push(spec)
    }

    /// The tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TensorId, &TensorSpec)> {
        self.specs.iter()
    }

    /// Number of tensors.
    pub fn count(&self) -> usize {
        self.specs.len()
    }

    /// One tensor's description.
    pub fn spec(&self, tensor: TensorId) -> &TensorSpec {
        &self.specs[tensor]
    }

    /// Where a tensor lies in the flat buffer.
    pub fn range(&self, tensor: TensorId) -> Range<usize> {
        let start = self.offsets[tensor];
        start..start + self.specs[tensor].len()
    }

    /// The tensor called `name`.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.specs.iter().find(|(_, spec)| spec.name == name).map(|(id, _)| id)
    }

    /// Checks that a tensor, or a group of them, is called `name`.
    ///
    /// # Errors
    /// E0404, without a place.
    pub fn check_name(&self, name: &str) -> Result<(), Diagnostic> {
        let mut known: Vec<&str> = Vec::new();
        for own in self.specs.values().flat_map(|spec| [spec.group(), &spec.name]) {
            if !known.contains(&own) {
                known.push(own);
            }
        }
        if known.contains(&name) {
            return Ok(());
        }
        let message = format!("no tensor or group of tensors is called `{name}`");
        let fault = Diagnostic::new(Code::E0404, message);
        let fault = match known.as_slice() {
            [] => fault.note("this circuit has none"),
            known => fault.note(format!("this circuit's are {}", known.join(", "))),
        };
        Err(match nearest(name, known.iter().copied()) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault,
        })
    }

    /// Entries of all tensors: the number of learnable parameters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing to learn.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends the values with which a tensor begins. Each tensor draws from a stream of its own, so
    /// that its values depend on the seed, its place and its shape alone. `moments` gives mean and
    /// standard deviation of the data of each leaf, where there are data.
    pub fn initialise<T: Real>(
        &self,
        tensor: TensorId,
        seed: u64,
        dists: &IdVec<DistId, Dist>,
        moments: &IdVec<DistId, Option<(f64, f64)>>,
        out: &mut Vec<T>,
    ) {
        let spec = &self.specs[tensor];
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(tensor.index() as u64 + 1);
        let mut drawn = std::iter::repeat_with(|| rng.random::<f64>());
        match &spec.init {
            Init::Uniform(low, high) => {
                let uniform = |u: f64| T::of(low + (high - low) * u);
                out.extend(drawn.by_ref().take(spec.len()).map(uniform));
            }
            Init::Mixed(given) => out.extend(
                given.iter().zip(drawn.by_ref()).map(|(given, u)| T::of(given.unwrap_or(u))),
            ),
            Init::Normal(deviation) => out.extend(
                (0..spec.len()).map(|_| T::of(deviation * gaussian::standard_normal(&mut rng))),
            ),
            Init::Leaves(members) => {
                for &id in members {
                    let raw = dists[id].initial_raw(&mut rng, moments[id]);
                    out.extend(raw.into_iter().map(T::of));
                }
            }
        }
    }
}
