//! The loop of learning.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::batches::Batches;
use super::checkpoint::{self, Best, Identity, State};
use super::error::Place;
use super::learner::{Learner, Taken};
use super::update::first_not_finite;
use super::{Event, Keep, NotFinite, Observer, Options, Part, Record, Splits, Stage, TrainError};
use crate::data::Dataset;
use crate::diag::{Code, Diagnostic};
use crate::engine::{Executable, Stepped};
use crate::model::Training;
use crate::model::evaluate::{self, Evaluation, Totals};
use crate::sector::Parameters;

/// The longest that a checkpoint may be behind.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The parameters of the best validation value; without validation data, of the last step.
    pub parameters: Vec<f32>,
    /// The step after which the parameters were so.
    pub selected_step: u64,
    /// Steps done.
    pub steps: u64,
    /// Time spent on them, with evaluations and checkpoints, in this run and those it went on from.
    pub seconds: f64,
    /// How they explain the training data.
    pub train: Evaluation,
    /// How they explain the validation data.
    pub valid: Option<Totals>,
    /// How they explain the test data.
    pub test: Option<Evaluation>,
    /// The evaluations on the way.
    pub history: Vec<Record>,
}

impl Outcome {
    /// What a model file says of the run.
    pub fn training(&self, train: &Dataset, seed: u64) -> Training {
        Training {
            data: train.fingerprint(),
            seed,
            steps: self.steps,
            selected_step: self.selected_step,
            train_ll: self.train.mean_ll,
            valid_ll: self.valid.and_then(|totals| totals.mean()),
            test_ll: self.test.as_ref().and_then(|test| test.mean_ll),
        }
    }
}

/// Learns parameters from `initial` on, or from the checkpoint of an earlier run. The same inputs give
/// the same parameters, bit for bit, however often the run is stopped and continued.
///
/// # Errors
/// [`TrainError::Refused`] for a recipe that means nothing, an unknown group, no training rows, and a
/// checkpoint that cannot be read, written or continued; [`TrainError::NotFinite`]; and
/// [`TrainError::Interrupted`].
///
/// # Panics
/// When `initial` is not as long as the parameters.
pub fn fit(
    executable: &mut dyn Executable,
    parameters: &Parameters,
    initial: Vec<f32>,
    data: &Splits<'_>,
    options: &Options<'_>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    assert_eq!(initial.len(), parameters.learnable(), "a number for each learnable parameter");
    options.recipe.check()?;
    if data.train.rows() == 0 {
        return Err(Diagnostic::new(Code::E0503, "there are no rows to learn from").into());
    }
    let mut run = Run::new(executable, parameters, initial, data, options, observer)?;
    run.learn()?;
    run.finish()
}

/// A run on its way.
struct Run<'a> {
    executable: &'a mut dyn Executable,
    parameters: &'a Parameters,
    data: &'a Splits<'a>,
    options: &'a Options<'a>,
    observer: &'a mut dyn Observer,
    /// Where the checkpoint is kept, and what it says the run is.
    keep: Option<(&'a Keep, Identity)>,
    learner: Learner,
    /// Where the engine takes the steps: the one after which parameters and moments were last copied from it.
    fetched: Option<u64>,
    batches: Batches,
    /// All that a checkpoint holds, but for the moments, which the optimiser has.
    state: State,
    log_p: Vec<f64>,
    /// When the time that `state.seconds` does not count began.
    clock: Instant,
    saved: Instant,
    cost_of_saving: Duration,
}

impl<'a> Run<'a> {
    fn new(
        executable: &'a mut dyn Executable,
        parameters: &'a Parameters,
        initial: Vec<f32>,
        data: &'a Splits<'a>,
        options: &'a Options<'a>,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let recipe = &options.recipe;
        let learner = Learner::new(recipe, parameters)?;
        let keep = options.keep.as_ref().map(|keep| {
            (keep, Identity::new(&keep.circuit, data, recipe, &executable.arithmetic()))
        });
        let batches = Batches::new(recipe.seed, data.train.rows(), recipe.batch);
        executable.prepare(data.train);
        if let Some(valid) = data.valid {
            // Of the recipe alone, so that a run that is continued does the same.
            let times = recipe.steps.div_ceil(recipe.eval_every.max(1)).max(1);
            executable.prepare_evaluations(valid, usize::try_from(times).unwrap_or(usize::MAX));
        }
        let state = State {
            step: 0,
            seconds: 0.0,
            parameters: initial,
            moments: [Vec::new(), Vec::new()],
            best: None,
            history: Vec::new(),
            window: Totals::default(),
        };
        let mut run = Run {
            executable,
            parameters,
            data,
            options,
            observer,
            keep,
            learner,
            fetched: None,
            log_p: vec![0.0; batches.size()],
            batches,
            state,
            clock: Instant::now(),
            saved: Instant::now(),
            cost_of_saving: Duration::ZERO,
        };
        if !run.resume()? {
            // So that no checkpoint of an earlier run is taken for one of this.
            run.save()?;
        }
        let State { step, parameters, history, .. } = &run.state;
        if run.learner.hand_over(run.executable, run.data.train, parameters) {
            run.fetched = Some(*step);
        }
        run.observer.event(Event::Begun { step: *step, steps: recipe.steps, history });
        Ok(run)
    }

    /// Takes up the checkpoint, if that is wanted and there is one.
    fn resume(&mut self) -> Result<bool, TrainError> {
        let Some((keep, identity)) = self.keep.as_ref().filter(|(keep, _)| keep.resume) else {
            return Ok(false);
        };
        let moments = self.learner.moments().map(<[f32]>::len);
        let len = self.parameters.learnable();
        let loaded = checkpoint::load(&keep.path, identity, len, moments)?;
        let Some(mut state) = loaded else { return Ok(false) };
        self.learner.restore(state.step, std::mem::take(&mut state.moments));
        self.state = state;
        Ok(true)
    }

    fn learn(&mut self) -> Result<(), TrainError> {
        let recipe = &self.options.recipe;
        while self.state.step < recipe.steps && !self.out_of_patience() {
            if self.options.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                self.save()?;
                return Err(TrainError::Interrupted { step: self.state.step });
            }
            self.step()?;
            let step = self.state.step;
            let pause = if step.is_multiple_of(recipe.eval_every) || step == recipe.steps {
                self.evaluate()?;
                self.keep.as_ref().map_or(0, |(keep, _)| keep.share) * self.cost_of_saving
            } else {
                LONGEST_WAIT
            };
            if self.saved.elapsed() >= pause {
                self.save()?;
            }
        }
        if self.state.history.is_empty() {
            self.evaluate()?;
        }
        self.save()
    }

    /// Whether as many evaluations as the recipe has patience for were no better than the best.
    fn out_of_patience(&self) -> bool {
        let (Some(patience), Some(best)) = (self.options.recipe.patience, &self.state.best) else {
            return false;
        };
        let since = self.state.history.iter().filter(|record| record.step > best.step).count();
        since as u64 >= patience.max(1)
    }

    fn step(&mut self) -> Result<(), TrainError> {
        let recipe = &self.options.recipe;
        let factor = recipe.schedule.factor(self.state.step, recipe.steps);
        match self.fetched {
            Some(_) => self.step_there(factor)?,
            None => self.step_here(factor)?,
        }
        self.state.window.add(&self.log_p);
        self.observer.event(Event::Step { step: self.state.step });
        Ok(())
    }

    /// A step for which the engine gives gradients or counts.
    fn step_here(&mut self, factor: f64) -> Result<(), TrainError> {
        self.look()?;
        let rows = self.batches.size();
        let seen = (rows, rows as f64 / self.data.train.rows() as f64);
        match self.learner.step(factor, seen, &mut self.state.parameters) {
            true => Ok(()),
            false => Err(self.blame_step().into()),
        }
    }

    /// A step that the engine takes.
    fn step_there(&mut self, factor: f64) -> Result<(), TrainError> {
        let rows = self.batches.draw(self.state.step);
        let (train, log_p) = (self.data.train, &mut self.log_p);
        let stepped = self.learner.step_there(self.executable, factor, train, rows, log_p);
        if stepped == Some(Stepped::Taken) {
            self.state.step += 1;
            return Ok(());
        }
        let State { step, parameters, .. } = &mut self.state;
        self.learner.fetch(self.executable, parameters);
        if stepped == Some(Stepped::OutOfRange) {
            *step += 1;
        } else {
            // Nothing has changed: looking at the batch again finds out why.
            self.look()?;
        }
        Err(self.blame_step().into())
    }

    /// Takes from the next batch what a step needs; all of it is finite.
    fn look(&mut self) -> Result<(), TrainError> {
        let State { step, parameters, .. } = &mut self.state;
        let rows = self.batches.draw(*step);
        let log_p = &mut self.log_p;
        self.learner.look(self.executable, parameters, self.data.train, rows, log_p)?;
        *step += 1;
        if let Some(at) = evaluate::fault(log_p) {
            let (row, log_p) = (rows[at] as usize, log_p[at]);
            let stage = Stage::LogLikelihood { part: Part::Train, row, log_p };
            return Err(NotFinite { step: *step, stage }.into());
        }
        match self.learner.first_not_finite(self.parameters) {
            Some(taken) => Err(self.blame(taken)?.into()),
            None => Ok(()),
        }
    }

    /// Copies parameters and moments from the engine, if it takes the steps and has taken some since.
    fn fetch(&mut self) {
        if self.fetched.is_some_and(|step| step != self.state.step) {
            self.learner.fetch(self.executable, &mut self.state.parameters);
            self.fetched = Some(self.state.step);
        }
    }

    /// The fault of a gradient, or a count, that is not finite, with the first row that makes it so
    /// alone.
    fn blame(&mut self, taken: Taken) -> Result<NotFinite, TrainError> {
        let step = self.state.step;
        let mut guilty = None;
        for &row in self.batches.draw(step - 1) {
            let (parameters, train) = (&self.state.parameters, self.data.train);
            self.learner.look(self.executable, parameters, train, &[row], &mut [0.0])?;
            if self.learner.first_not_finite(self.parameters).is_some() {
                guilty = Some(row as usize);
                break;
            }
        }
        let (Taken::Gradient(at) | Taken::Count(at)) = taken;
        let (place, row) = (Place::of(self.parameters, at), guilty);
        let stage = match taken {
            Taken::Gradient(_) => Stage::Gradient { place, row },
            Taken::Count(_) => Stage::Count { place, row },
        };
        Ok(NotFinite { step, stage })
    }

    /// The fault of a step after which a parameter or a moment is not finite.
    fn blame_step(&self) -> NotFinite {
        let second = self.learner.moments()[1];
        let at = first_not_finite(&self.state.parameters).or_else(|| first_not_finite(second));
        let place = Place::of(self.parameters, at.unwrap_or(0));
        NotFinite { step: self.state.step, stage: Stage::Parameter { place } }
    }

    /// Records how it goes, and keeps the parameters if they are the best so far.
    fn evaluate(&mut self) -> Result<(), TrainError> {
        self.fetch();
        self.executable.load(&self.state.parameters);
        let mut valid = None;
        if let Some(data) = self.data.valid {
            let mut totals = Totals::default();
            totals.add(&self.log_likelihoods(data, Part::Valid)?.log_p);
            valid = Some(totals);
        }
        let window = std::mem::take(&mut self.state.window);
        let record = Record {
            step: self.state.step,
            seconds: self.seconds(),
            batch_ll: window.mean(),
            valid_ll: valid.and_then(|totals| totals.mean()),
            impossible_rows: window.impossible + valid.map_or(0, |totals| totals.impossible),
        };
        if let Some(totals) = valid {
            self.keep_if_best(totals);
        }
        self.observer.event(Event::Evaluated(&record));
        self.state.history.push(record);
        Ok(())
    }

    fn keep_if_best(&mut self, totals: Totals) {
        let State { step, parameters, best, .. } = &mut self.state;
        match best {
            Some(best) if !totals.better_than(&best.totals) => {}
            Some(best) => {
                (best.step, best.totals) = (*step, totals);
                best.parameters.copy_from_slice(parameters);
            }
            None => *best = Some(Best { step: *step, totals, parameters: parameters.clone() }),
        }
    }

    /// Evaluates under the parameters that are loaded.
    fn log_likelihoods(&mut self, data: &Dataset, part: Part) -> Result<Evaluation, NotFinite> {
        evaluate::evaluate(self.executable, data).map_err(|fault| {
            let stage = Stage::LogLikelihood { part, row: fault.row, log_p: fault.log_p };
            NotFinite { step: self.state.step, stage }
        })
    }

    /// Writes a checkpoint, if one is kept.
    fn save(&mut self) -> Result<(), TrainError> {
        if self.keep.is_some() {
            self.fetch();
        }
        let Some((keep, identity)) = &self.keep else { return Ok(()) };
        self.state.seconds = self.seconds();
        self.clock = Instant::now();
        let begun = Instant::now();
        checkpoint::save(&keep.path, identity, &self.state, self.learner.moments())?;
        self.saved = Instant::now();
        self.cost_of_saving = self.saved - begun;
        self.observer.event(Event::Saved { step: self.state.step });
        Ok(())
    }

    /// Time spent so far, with that of the runs before.
    fn seconds(&self) -> f64 {
        self.state.seconds + self.clock.elapsed().as_secs_f64()
    }

    /// Judges the parameters that are kept.
    fn finish(mut self) -> Result<Outcome, TrainError> {
        self.fetch();
        let (selected_step, valid) = match self.state.best.take() {
            Some(best) => {
                self.state.parameters = best.parameters;
                (best.step, Some(best.totals))
            }
            None => (self.state.step, None),
        };
        let seconds = self.seconds();
        self.executable.load(&self.state.parameters);
        for data in [Some(self.data.train), self.data.test].into_iter().flatten() {
            self.executable.prepare_evaluations(data, 1);
        }
        let train = self.log_likelihoods(self.data.train, Part::Train)?;
        let test = self.data.test.map(|data| self.log_likelihoods(data, Part::Test)).transpose()?;
        let State { parameters, step: steps, history, .. } = self.state;
        Ok(Outcome { parameters, selected_step, steps, seconds, train, valid, test, history })
    }
}
