//! How the learning rate changes over a run.

use serde::{Deserialize, Serialize};

/// A factor for every learning rate, a function of the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Steps over which the rate rises linearly to its full value; 0 for none.
    pub warm_up: u64,
    /// What it does afterwards.
    pub decline: Decline,
}

/// What the learning rate does once it is at its full value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Decline {
    /// Nothing.
    #[default]
    Constant,
    /// It falls to zero along a straight line.
    Linear,
    /// It falls to zero along half a cosine.
    Cosine,
}

impl Schedule {
    /// The factor of a step, counted from 0, of a run of `steps`.
    pub fn factor(self, step: u64, steps: u64) -> f64 {
        if step < self.warm_up {
            return (step + 1) as f64 / (self.warm_up + 1) as f64;
        }
        let rest = steps.saturating_sub(self.warm_up).max(1);
        let done = (step - self.warm_up) as f64 / rest as f64;
        match self.decline {
            Decline::Constant => 1.0,
            Decline::Linear => 1.0 - done,
            Decline::Cosine => (1.0 + (std::f64::consts::PI * done).cos()) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(warm_up: u64, decline: Decline) -> String {
        let schedule = Schedule { warm_up, decline };
        let factors: Vec<String> =
            (0..6).map(|step| format!("{:.3}", schedule.factor(step, 6))).collect();
        factors.join(" ")
    }

    #[test]
    fn a_rate_rises_and_falls_as_its_schedule_says() {
        let all = [
            factors(0, Decline::Constant),
            factors(3, Decline::Constant),
            factors(2, Decline::Linear),
            factors(2, Decline::Cosine),
            factors(9, Decline::Cosine),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        1.000 1.000 1.000 1.000 1.000 1.000
        0.250 0.500 0.750 1.000 1.000 1.000
        0.333 0.667 1.000 0.750 0.500 0.250
        0.333 0.667 1.000 0.854 0.500 0.146
        0.100 0.200 0.300 0.400 0.500 0.600
        ");
    }
}
