//! Mean and spread of each variable: where leaves of real variables begin to learn.

use super::Dataset;

impl Dataset {
    /// Mean and standard deviation of each variable over the rows in which it is observed; (0, 1)
    /// where it is in none, and a deviation of 1 where all its values are equal.
    pub fn moments(&self) -> Vec<(f64, f64)> {
        self.variables()
            .ids()
            .map(|var| {
                let values = || {
                    let values = (0..self.rows()).filter_map(move |row| self.value(row, var));
                    values.map(f64::from)
                };
                let count = values().count().max(1) as f64;
                let mean = values().sum::<f64>() / count;
                let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
                (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::data::Dataset;
    use crate::variables::{VarKind, Variables};

    #[test]
    fn moments_are_of_what_is_observed() {
        let rows = [
            vec![Some(1.0), None, Some(2.0)],
            vec![None, None, Some(2.0)],
            vec![Some(5.0), None, Some(2.0)],
        ];
        let data = Dataset::from_rows(&Variables::uniform(VarKind::Real, 3), rows);
        let moments = data.map(|data| data.moments());
        assert_eq!(moments, Ok(vec![(3.0, 2.0), (0.0, 1.0), (2.0, 1.0)]));
    }
}
