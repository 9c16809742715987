//! Learning curves, as a picture.

use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use super::Record;
use crate::data::write::write_whole;
use crate::diag::{Code, Diagnostic};

/// A line of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// The curves of a run: log-likelihood by step.
pub fn of_history(history: &[Record]) -> Vec<Series> {
    let line = |name: &str, value: fn(&Record) -> Option<f64>| Series {
        name: name.into(),
        points: history
            .iter()
            .filter_map(|record| Some((record.step as f64, value(record)?)))
            .collect(),
    };
    let lines = [
        line("training batches", |record| record.batch_ll),
        line("validation", |record| record.valid_ll),
    ];
    lines.into_iter().filter(|line| !line.points.is_empty()).collect()
}

/// Draws log-likelihoods by step as SVG, whole or not at all.
///
/// # Errors
/// E0001 when the file cannot be written.
pub fn curves_svg(path: &Path, series: &[Series]) -> Result<(), Diagnostic> {
    let failed = |error: &dyn std::fmt::Display| {
        Diagnostic::new(Code::E0001, format!("the curves cannot be written: {error}"))
            .in_file(path.display().to_string())
    };
    let mut text = String::new();
    draw(&mut text, series).map_err(|error| failed(&error))?;
    write_whole(path, |out| out.write_all(text.as_bytes())).map_err(|error| failed(&error))
}

fn draw(text: &mut String, series: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, (800, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let finite = |series: &Series| -> Vec<(f64, f64)> {
        series.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let lines: Vec<(&str, Vec<(f64, f64)>)> =
        series.iter().map(|series| (series.name.as_str(), finite(series))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(
            extent(all().map(|point| point.0)),
            extent(all().map(|point| point.1)),
        )?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("mean log-likelihood, nats")
        .x_label_formatter(&|x| x.to_string())
        .light_line_style(WHITE)
        .draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(*name)
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

/// The range of some numbers, with a little room; one around zero, if there are none.
fn extent(numbers: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = numbers
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low > high {
        return -1.0..1.0;
    }
    let room = if low < high { 0.02 * (high - low) } else { 1.0 };
    low - room..high + room
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(series: &[Series]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        curves_svg(&path, series).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_picture_has_titled_axes_a_line_and_a_name_for_each_series() {
        let line = |name: &str, ys: &[f64]| Series {
            name: name.into(),
            points: ys.iter().enumerate().map(|(x, &y)| (x as f64, y)).collect(),
        };
        let text = drawn(&[line("one & only", &[-3.0, f64::NAN, -1.0]), line("two", &[-2.0; 3])]);
        for part in ["step", "mean log-likelihood, nats", "one &amp; only", "two"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(text.matches("<polyline").count() >= 4, "{text}");
        assert!(text.trim_end().ends_with("</svg>") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn no_points_and_equal_points_make_a_picture_too() {
        for points in [vec![], vec![(0.0, -1.0)], vec![(0.0, f64::NEG_INFINITY)]] {
            let text = drawn(&[Series { name: "a".into(), points }]);
            assert!(text.contains("</svg>"));
        }
    }
}
