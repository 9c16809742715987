//! How much rows agree: distinct sub-assignments of regions against the size of their scopes.
//!
//! ```text
//! sub-assignments     ── rows of the data ──────
//! (logarithmic)              ·   ·       data
//!                      ·   ── rows of a batch ──
//!                   ·    ·   ·           a batch
//!                └─ variables of a scope (logarithmic)
//! ```
//!
//! Where points lie far below their line, rows share what is evaluated for them.

use std::error::Error;

use plotters::prelude::*;

use crate::diag::{Code, Diagnostic};

/// How much rows agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Rows of the data.
    pub rows: usize,
    /// Rows of a batch.
    pub batch: usize,
    /// Sizes of scopes, ascending, each at least one, with what is known of the regions of each.
    pub sizes: Vec<OfSize>,
}

/// Distinct sub-assignments of the regions whose scopes have one size, a mean over these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfSize {
    /// Variables of the scope.
    pub variables: usize,
    /// Distinct sub-assignments that all rows have.
    pub in_data: f64,
    /// Those that a batch has, on average.
    pub in_batch: f64,
}

/// The text of an SVG file.
///
/// # Errors
/// E0001 when it cannot be drawn.
pub fn agreement_svg(title: &str, agreement: &Agreement) -> Result<String, Diagnostic> {
    let mut text = String::new();
    let failed = |error: Box<dyn Error>| {
        Diagnostic::new(Code::E0001, format!("the figure cannot be drawn: {error}"))
    };
    draw(&mut text, title, agreement).map_err(failed)?;
    Ok(text)
}

fn draw(text: &mut String, title: &str, agreement: &Agreement) -> Result<(), Box<dyn Error>> {
    let Agreement { rows, batch, sizes } = agreement;
    let widest = sizes.iter().map(|size| size.variables).max().unwrap_or(1).max(2) as f64;
    let most = (*rows).max(*batch).max(2) as f64;
    let area = SVGBackend::with_string(text, (800, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((1.0..1.1 * widest).log_scale(), (1.0..1.5 * most).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("variables of a region's scope")
        .y_desc("distinct sub-assignments")
        .x_label_formatter(&|x| x.to_string())
        .y_label_formatter(&|y| y.to_string())
        .max_light_lines(0)
        .draw()?;
    let lines = [
        ("the data", *rows, sizes.iter().map(|size| size.in_data).collect::<Vec<_>>()),
        ("a batch", *batch, sizes.iter().map(|size| size.in_batch).collect()),
    ];
    for (index, (name, rows, counts)) in lines.into_iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let points: Vec<(f64, f64)> =
            sizes.iter().map(|size| size.variables as f64).zip(counts).collect();
        let top = [(1.0, rows as f64), (1.1 * widest, rows as f64)];
        chart.draw_series(DashedLineSeries::new(top, 6, 4, color.stroke_width(1)))?;
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        chart
            .draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?
            .label(format!("{name}: {rows} rows, the dashed line"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.4))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_size(variables: usize, in_data: f64, in_batch: f64) -> OfSize {
        OfSize { variables, in_data, in_batch }
    }

    #[test]
    fn a_figure_has_a_point_for_each_size_and_count_and_a_line_for_the_rows() {
        let sizes = vec![of_size(1, 2.0, 2.0), of_size(8, 60.5, 20.0), of_size(64, 900.0, 90.0)];
        let agreement = Agreement { rows: 1000, batch: 100, sizes };
        let text = agreement_svg("one & only", &agreement).unwrap();
        assert_eq!(text, agreement_svg("one & only", &agreement).unwrap());
        // Two more circles would be of a size that there is not.
        assert_eq!(text.matches("<circle").count(), 6, "{text}");
        for part in ["one &amp; only", "1000 rows", "100 rows", "distinct sub-assignments"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn a_single_row_of_a_single_variable_makes_a_figure_too() {
        let agreement = Agreement { rows: 1, batch: 1, sizes: vec![of_size(1, 1.0, 1.0)] };
        let text = agreement_svg("", &agreement).unwrap();
        assert!(text.trim_end().ends_with("</svg>") && !text.contains("NaN"), "{text}");
    }
}
