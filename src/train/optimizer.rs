//! Optimisers: Adam, AdamW and gradient descent.
//!
//! The objective is the sum over the batch of −ln p, as in the HyperSPN experiments; engines hand over
//! the gradient of the sum of ln p, so it changes sign here. A step is one pass over memory. Its bits
//! depend on nothing but its inputs: every parameter is updated alone, by arithmetic that is the same
//! in vectors of any width.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::update::{CHUNK, Segment, each_update, update};
use crate::diag::{Code, Diagnostic};
use crate::engine::Update;
use crate::param::{TensorSet, TensorSpec};

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Method {
    /// Kingma & Ba 2015, with L2 added to the gradient.
    Adam(Moments),
    /// Loshchilov & Hutter 2019: Adam with the decay outside of the moments.
    AdamW(Moments),
    /// θ ← θ − rate · velocity, where velocity ← momentum · velocity + gradient.
    Sgd {
        /// In [0, 1); 0 is plain gradient descent.
        momentum: f64,
    },
    /// Expectation-maximisation ([`super::em`]), which follows no gradient: learning rates are the part
    /// of the way to go, at most one.
    Em {
        /// Pseudo-count of each distribution, for all rows together, at least 0.
        pseudo_count: f64,
    },
}

/// How a gradient becomes a step, for the methods that follow one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Adam(Moments),
    AdamW(Moments),
    Sgd { momentum: f64 },
}

/// The constants of Adam.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Decay of the mean of the gradient, in [0, 1).
    pub beta1: f64,
    /// Decay of the mean of its square, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the mean square, above 0.
    pub epsilon: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Moments { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Default for Method {
    fn default() -> Self {
        Method::Adam(Moments::default())
    }
}

/// Learning options of some tensors; what is `None` is as for all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The name of a tensor, or of a group of them: what their names have before the first dot.
    pub name: String,
    /// Learning rate.
    pub rate: Option<f64>,
    /// L2.
    pub decay: Option<f64>,
}

/// An optimiser and what it remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    rule: Rule,
    segments: Vec<Segment>,
    /// The last step, a tensor at a time.
    updates: Vec<Update>,
    /// Steps done.
    steps: u64,
    /// Mean of the gradient, or velocity; an entry a parameter.
    first: Vec<f32>,
    /// Mean of its square; empty for gradient descent.
    second: Vec<f32>,
}

impl Optimizer {
    /// An optimiser for parameters laid out as `tensors` says. Learning rate and L2 of a tensor are
    /// those of the group of its own name, else of the group it belongs to, else its own or the
    /// general ones.
    ///
    /// # Errors
    /// E0404 for a group that matches no tensor; E0405 for a method that follows no gradient.
    pub fn new(
        method: Method,
        tensors: &TensorSet,
        rate: f64,
        decay: f64,
        groups: &[Group],
    ) -> Result<Self, Diagnostic> {
        let rule = match method {
            Method::Adam(moments) => Rule::Adam(moments),
            Method::AdamW(moments) => Rule::AdamW(moments),
            Method::Sgd { momentum } => Rule::Sgd { momentum },
            Method::Em { .. } => {
                return Err(Diagnostic::new(Code::E0405, "EM does not learn from gradients"));
            }
        };
        let segments = segments(tensors, rate, decay, groups)?;
        let second = match rule {
            Rule::Sgd { .. } => 0,
            Rule::Adam(_) | Rule::AdamW(_) => tensors.len(),
        };
        let first = vec![0.0; tensors.len()];
        let second = vec![0.0; second];
        Ok(Optimizer { rule, segments, updates: Vec::new(), steps: 0, first, second })
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What it remembers: the first and the second moment, the latter empty for gradient descent.
    pub fn moments(&self) -> [&[f32]; 2] {
        [&self.first, &self.second]
    }

    /// The same, to be written by an engine that takes the steps.
    pub fn moments_mut(&mut self) -> [&mut [f32]; 2] {
        [&mut self.first, &mut self.second]
    }

    /// The next step, with learning rates times `factor`, an update for each tensor: what an engine needs that
    /// takes it in place of [`Optimizer::step`].
    pub fn next_step(&mut self, factor: f64) -> &[Update] {
        self.steps += 1;
        let next = |&segment: &Segment| update(self.rule, segment, factor, self.steps);
        self.updates.clear();
        self.updates.extend(self.segments.iter().map(next));
        &self.updates
    }

    /// Puts back what [`Optimizer::moments`] gave after so many steps.
    ///
    /// # Panics
    /// When the lengths are not those of this optimiser.
    pub fn restore(&mut self, steps: u64, first: Vec<f32>, second: Vec<f32>) {
        assert_eq!((first.len(), second.len()), (self.first.len(), self.second.len()));
        (self.steps, self.first, self.second) = (steps, first, second);
    }

    /// One step, with learning rates times `factor`; `gradient` is that of Σ ln p, to be ascended.
    /// Returns whether all parameters and moments are finite.
    ///
    /// # Panics
    /// When a buffer is not as long as the tensors together.
    pub fn step(&mut self, factor: f64, parameters: &mut [f32], gradient: &[f32]) -> bool {
        assert_eq!(parameters.len(), self.first.len(), "a parameter for each moment");
        assert_eq!(gradient.len(), self.first.len(), "a derivative for each parameter");
        self.next_step(factor);
        let updates = &self.updates;
        let chunk = |at: usize, theta: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]| {
            let mut finite = true;
            each_update(updates, at * CHUNK, theta.len(), |range, update| {
                let v = if v.is_empty() { &mut [] } else { &mut v[range.clone()] };
                let (theta, m) = (&mut theta[range.clone()], &mut m[range.clone()]);
                finite &= update.apply(theta, &g[range], m, v);
            });
            finite
        };
        let chunks = parameters
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(self.first.par_chunks_mut(CHUNK));
        let all = || true;
        match self.rule {
            Rule::Sgd { .. } => chunks
                .enumerate()
                .map(|(at, ((theta, g), m))| chunk(at, theta, g, m, &mut []))
                .reduce(all, |a, b| a & b),
            Rule::Adam(_) | Rule::AdamW(_) => chunks
                .zip(self.second.par_chunks_mut(CHUNK))
                .enumerate()
                .map(|(at, (((theta, g), m), v))| chunk(at, theta, g, m, v))
                .reduce(all, |a, b| a & b),
        }
    }
}

/// Rate and L2 of each tensor: what the group of its own name says, else that of the group it belongs
/// to, else its own L2, else the general ones.
///
/// # Errors
/// E0404 for a group that matches no tensor.
pub(super) fn segments(
    tensors: &TensorSet,
    rate: f64,
    decay: f64,
    groups: &[Group],
) -> Result<Vec<Segment>, Diagnostic> {
    groups.iter().try_for_each(|group| tensors.check_name(&group.name))?;
    let named = |name: &str| groups.iter().find(|group| group.name == name);
    let segment = |(id, spec): (_, &TensorSpec)| {
        let choices = [named(&spec.name), named(spec.group())];
        let pick = |field: fn(&Group) -> Option<f64>| {
            choices.iter().flatten().find_map(|group| field(group))
        };
        Segment {
            end: tensors.range(id).end,
            rate: pick(|group| group.rate).unwrap_or(rate),
            decay: pick(|group| group.decay).or(spec.decay).unwrap_or(decay),
        }
    };
    Ok(tensors.iter().map(segment).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::Init;
    use crate::train::update::first_not_finite;

    fn tensors(specs: &[(&str, usize)]) -> TensorSet {
        let mut set = TensorSet::new();
        for &(name, len) in specs {
            set.push(TensorSpec::new(name, vec![len], Init::Uniform(0.0, 1.0)));
        }
        set
    }

    fn group(name: &str, rate: Option<f64>, decay: Option<f64>) -> Group {
        Group { name: name.into(), rate, decay }
    }

    /// θ after each of some steps from 1 on one parameter.
    fn trace(method: Method, rate: f64, decay: f64, gradients: &[f32]) -> Vec<f32> {
        let mut optimizer =
            Optimizer::new(method, &tensors(&[("a", 1)]), rate, decay, &[]).unwrap();
        let mut theta = [1.0];
        gradients
            .iter()
            .map(|&g| {
                assert!(optimizer.step(1.0, &mut theta, &[g]));
                theta[0]
            })
            .collect()
    }

    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found} is not {expected}");
        }
    }

    /// By hand, for L2 of 0.1 and a rate of 0.01. Step 1 from θ = 1, gradient of the loss −2: d = −1.9,
    /// m = −0.19, v = 0.00361; corrected −1.9 and 3.61; θ = 1 + 0.01. Step 2, gradient 1: d = 1.101,
    /// m = −0.0609, v = 0.00481859; corrected −0.0609/0.19 = −0.320526 and 0.00481859/0.001999 =
    /// 2.410500; θ = 1.01 + 0.01 · 0.320526/1.552578 = 1.01206448.
    #[test]
    fn adam_takes_the_steps_computed_by_hand() {
        let found = trace(Method::default(), 0.01, 0.1, &[2.0, -1.0]);
        assert_near(&found, &[1.01, 1.012_064_5]);
    }

    /// The decay multiplies the parameter by 1 − 0.01 · 0.1 before a step of Adam without it. Step 2:
    /// m = −0.18 + 0.1 · 1 − …: d = −2 then 1; m = −0.2 · 0.9 + 0.1 = −0.08, v = 0.004 · 0.999 + 0.001
    /// = 0.004996; corrected −0.08/0.19 = −0.421053 and 2.499250; step 0.01 · 0.421053/1.580902.
    #[test]
    fn adamw_shrinks_the_parameter_apart_from_the_moments() {
        let found = trace(Method::AdamW(Moments::default()), 0.01, 0.1, &[2.0, -1.0]);
        let first = 0.999 + 0.01;
        assert_near(&found, &[first, first * 0.999 + 0.002_663_37]);
    }

    #[test]
    fn gradient_descent_follows_its_velocity() {
        let found = trace(Method::Sgd { momentum: 0.5 }, 0.1, 0.0, &[1.0, 1.0]);
        assert_near(&found, &[1.1, 1.25]);
        let found = trace(Method::Sgd { momentum: 0.0 }, 0.1, 1.0, &[0.0, 0.0]);
        assert_near(&found, &[0.9, 0.81]);
    }

    /// The textbook form, in double precision, one parameter at a time.
    #[test]
    fn adam_agrees_with_its_formula_over_many_parameters_and_steps() {
        let (len, rate, decay) = (CHUNK + 137, 0.02, 1e-3);
        let mut optimizer =
            Optimizer::new(Method::default(), &tensors(&[("a", len)]), rate, decay, &[]).unwrap();
        let start = |i: usize| (i % 97) as f32 / 48.0 - 1.0;
        let gradient = |i: usize, t: usize| ((i * 31 + t * 17) % 101) as f32 / 50.0 - 1.0;
        let mut theta: Vec<f32> = (0..len).map(start).collect();
        for t in 0..20 {
            let g: Vec<f32> = (0..len).map(|i| gradient(i, t)).collect();
            assert!(optimizer.step(1.0, &mut theta, &g));
        }
        for i in (0..len).step_by(61).chain([CHUNK - 1, CHUNK, len - 1]) {
            let (mut expected, mut m, mut v) = (f64::from(start(i)), 0.0, 0.0);
            for t in 0..20 {
                let d = -f64::from(gradient(i, t)) + decay * expected;
                m = 0.9 * m + 0.1 * d;
                v = 0.999 * v + 0.001 * d * d;
                let (m_hat, v_hat) = (
                    m / (1.0 - 0.9f64.powi(t as i32 + 1)),
                    v / (1.0 - 0.999f64.powi(t as i32 + 1)),
                );
                expected -= rate * m_hat / (v_hat.sqrt() + 1e-8);
            }
            assert!((f64::from(theta[i]) - expected).abs() < 2e-5, "{i}: {} {expected}", theta[i]);
        }
    }

    #[test]
    fn a_group_changes_the_tensors_it_names_and_no_others() {
        let set = tensors(&[("hyper.a", 1), ("hyper.b", 1), ("direct", 1), ("leaf", 1)]);
        let groups = [
            group("hyper", Some(0.2), Some(0.5)),
            group("hyper.b", Some(0.3), None),
            group("leaf", None, Some(0.0)),
        ];
        let sgd = Method::Sgd { momentum: 0.0 };
        let mut optimizer = Optimizer::new(sgd, &set, 0.1, 1.0, &groups).unwrap();
        let mut theta = [1.0; 4];
        optimizer.step(0.5, &mut theta, &[0.0; 4]);
        assert_near(&theta, &[1.0 - 0.1 * 0.5, 1.0 - 0.15 * 0.5, 1.0 - 0.05, 1.0]);
    }

    #[test]
    fn an_unknown_group_is_refused_with_the_nearest_name() {
        let set = tensors(&[("hyper.a", 1), ("direct", 1)]);
        let fault =
            Optimizer::new(Method::default(), &set, 0.1, 0.0, &[group("hypre", None, None)])
                .unwrap_err();
        insta::assert_snapshot!(
            format!("{fault}; {}; {}", fault.notes.join("; "), fault.help.as_deref().unwrap_or("")),
            @"error[E0404]: no tensor or group of tensors is called `hypre`; this circuit's are hyper, hyper.a, direct; did you mean `hyper`?"
        );
    }

    #[test]
    fn what_is_not_finite_is_noticed_wherever_it_is() {
        let len = 2 * CHUNK + 5;
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, CHUNK - 1, CHUNK, len - 1] {
                let mut gradient = vec![1.0; len];
                assert_eq!(first_not_finite(&gradient), None);
                gradient[at] = bad;
                assert_eq!(first_not_finite(&gradient), Some(at));
                for method in [Method::default(), Method::Sgd { momentum: 0.9 }] {
                    let mut optimizer =
                        Optimizer::new(method, &tensors(&[("a", len)]), 0.1, 0.0, &[]).unwrap();
                    assert!(!optimizer.step(1.0, &mut vec![0.0; len], &gradient));
                }
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let len = 5 * CHUNK + 3;
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let set = tensors(&[("a", CHUNK + 1), ("b", 4 * CHUNK + 2)]);
                let mut optimizer = Optimizer::new(
                    Method::default(),
                    &set,
                    0.1,
                    0.01,
                    &[group("b", Some(0.2), None)],
                )
                .unwrap();
                let mut theta: Vec<f32> = (0..len).map(|i| (i as f32).sin()).collect();
                for t in 0..5 {
                    let g: Vec<f32> = (0..len).map(|i| ((i + t) as f32).cos()).collect();
                    optimizer.step(1.0, &mut theta, &g);
                }
                (theta, optimizer)
            })
        };
        let one = with(1);
        for threads in [2, 5] {
            assert!(with(threads) == one, "{threads} threads");
        }
    }
}
