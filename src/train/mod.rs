//! Learning: parameters that make the training data likely.
//!
//! [`fit`] is the loop. Each step draws its batch ([`batches`]), asks the engine for the gradient and
//! hands it to the optimiser ([`optimizer`]), or for expected counts and hands them to [`em`]; now and
//! then the validation data say which parameters to keep. All that the loop knows is in its
//! [`checkpoint`], from which it goes on as if it had never stopped, bit for bit. What happens is told to
//! an [`Observer`]: a progress bar, or the [`log`].

pub mod batches;
pub mod checkpoint;
pub mod curves;
pub mod em;
mod error;
mod fit;
mod learner;
pub mod log;
pub mod optimizer;
mod options;
pub mod schedule;
mod update;

pub use self::error::{NotFinite, Part, Stage, TrainError};
pub use self::fit::{Outcome, fit};
pub use self::log::{Event, Observer, Record};
pub use self::optimizer::{Group, Method, Moments, Optimizer};
pub use self::options::{Keep, Options, Recipe, Splits};
pub use self::schedule::{Decline, Schedule};
