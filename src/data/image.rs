//! Rows as images: a grid of them in one PNG file.
//!
//! A row is an image when its variables are the values of its places, row by row, and in a place
//! channel by channel. Each value becomes a level from 0 to 255: a binary one black or white, that of
//! a variable of 256 categories itself, of fewer categories the same share of the whole range, and a
//! real one by bounds that are stated, beyond which it is cut off. A missing value is black.

use std::path::Path;

use super::write::write_whole;
use super::{Dataset, shown};
use crate::diag::{Code, Diagnostic};
use crate::ids::{Id, VarId};
use crate::variables::{VarKind, Variables};

/// The most categories of which each has a level of its own.
const LEVELS: u32 = 256;
/// Pixels between images, and their grey.
const GAP: usize = 2;
const GREY: u8 = 128;
/// Pixels of a file at most.
const MOST_PIXELS: usize = 1 << 28;

/// The shape of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
}

impl Shape {
    /// Number of values; `None` if there is no such number.
    pub fn len(self) -> Option<usize> {
        self.height.checked_mul(self.width)?.checked_mul(self.channels)
    }

    /// Whether an image has no values.
    pub fn is_empty(self) -> bool {
        self.len() == Some(0)
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.height, self.width)?;
        if self.channels == 1 { Ok(()) } else { write!(f, "x{}", self.channels) }
    }
}

/// How rows become images.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The shape of each.
    pub shape: Shape,
    /// The real values that are drawn black and white.
    pub bounds: (f64, f64),
    /// What is added to each value of a row first; empty for nothing.
    pub offset: Vec<f32>,
}

impl Picture {
    /// Checks that rows over these variables are such images, so that it is known before any is made.
    ///
    /// # Errors
    /// E0501 if they have another number of values; E0502 for a variable of more categories than there
    /// are levels.
    pub fn check(&self, variables: &Variables) -> Result<(), Diagnostic> {
        let shape = self.shape;
        if shape.len() != Some(variables.len()) {
            let values = match shape.len() {
                Some(len) => format!("{len} values"),
                None => "more values than can be counted".to_string(),
            };
            let message =
                format!("an image of {shape} has {values}, and a row has {}", variables.len());
            let fault = Diagnostic::new(Code::E0501, message);
            return Err(fault.help("the shape is HEIGHTxWIDTH, or HEIGHTxWIDTHx3 in colour"));
        }
        let fine = |var: VarId| match variables.kind(var) {
            VarKind::Categorical { states } if states > LEVELS => Some((var, states)),
            _ => None,
        };
        match variables.ids().find_map(fine) {
            None => Ok(()),
            Some((var, states)) => {
                let name = variables.name(var);
                let message =
                    format!("`{name}` has {states} categories, and an image {LEVELS} levels");
                Err(Diagnostic::new(Code::E0502, message))
            }
        }
    }

    /// Writes all rows as one PNG file, from left to right and from top to bottom, in a grid that is
    /// nearly square.
    ///
    /// # Errors
    /// What [`Picture::check`] finds; E0503 without rows; E0702 for more pixels than a file may have;
    /// E0001 when the file cannot be written, and an earlier file of that name is then as it was.
    pub fn write_png(&self, path: &Path, data: &Dataset) -> Result<(), Diagnostic> {
        self.check(data.variables())?;
        let grid = Grid::of(self.shape, data.rows())?;
        let levels = self.levels(&grid, data);
        let written = write_whole(path, |out| {
            let mut encoder = png::Encoder::new(out, grid.width as u32, grid.height as u32);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.set_color(match self.shape.channels {
                1 => png::ColorType::Grayscale,
                _ => png::ColorType::Rgb,
            });
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&levels)?;
            writer.finish()?;
            Ok(())
        });
        written.map_err(|error| {
            Diagnostic::new(Code::E0001, format!("the file cannot be written: {error}"))
                .in_file(shown(path))
        })
    }

    /// The levels of the whole grid, row by row.
    fn levels(&self, grid: &Grid, data: &Dataset) -> Vec<u8> {
        let Shape { height, width, channels } = self.shape;
        let mut levels = vec![GREY; grid.width * grid.height * channels];
        for row in 0..data.rows() {
            let (top, left) = grid.corner(row);
            for y in 0..height {
                let line = ((top + y) * grid.width + left) * channels;
                for (at, level) in levels[line..line + width * channels].iter_mut().enumerate() {
                    let var = VarId::from_index(y * width * channels + at);
                    *level = self.level(data, row, var);
                }
            }
        }
        levels
    }

    fn level(&self, data: &Dataset, row: usize, var: VarId) -> u8 {
        let Some(value) = data.value(row, var) else { return 0 };
        let added = self.offset.get(var.index()).copied().unwrap_or(0.0);
        let value = f64::from(value) + f64::from(added);
        let (low, high) = match data.variables().kind(var) {
            VarKind::Categorical { states } => (0.0, f64::from(states.max(2) - 1)),
            VarKind::Real => self.bounds,
        };
        // The cast cuts off what lies beyond the bounds.
        (255.0 * (value - low) / (high - low)).round() as u8
    }
}

/// Where the images of a file stand, all of one shape. Lengths are in pixels.
struct Grid {
    shape: Shape,
    columns: usize,
    width: usize,
    height: usize,
}

impl Grid {
    fn of(shape: Shape, images: usize) -> Result<Self, Diagnostic> {
        if images == 0 {
            return Err(Diagnostic::new(Code::E0503, "there are no rows to draw"));
        }
        // As wide as high, as nearly as it can be.
        let columns = (1..images)
            .find(|&columns| columns * shape.width >= images.div_ceil(columns) * shape.height)
            .unwrap_or(images);
        let rows = images.div_ceil(columns);
        let length = |count: usize, each: usize| {
            count.checked_mul(each.checked_add(GAP)?).map(|length| length - GAP)
        };
        let fault = || {
            let message = format!("{images} images of {shape} are too many for one file");
            Err(Diagnostic::new(Code::E0702, message))
        };
        match (length(columns, shape.width), length(rows, shape.height)) {
            (Some(width), Some(height))
                if width.checked_mul(height).is_some_and(|pixels| pixels <= MOST_PIXELS) =>
            {
                Ok(Grid { shape, columns, width, height })
            }
            _ => fault(),
        }
    }

    /// The first row and column of pixels of an image.
    fn corner(&self, image: usize) -> (usize, usize) {
        let (row, column) = (image / self.columns, image % self.columns);
        (row * (self.shape.height + GAP), column * (self.shape.width + GAP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(height: usize, width: usize, channels: usize) -> Picture {
        let shape = Shape { height, width, channels };
        Picture { shape, bounds: (-1.0, 1.0), offset: Vec::new() }
    }

    /// Width, height and levels of the file that a picture of some rows is written to.
    fn written(picture: &Picture, kind: VarKind, rows: &[&[f32]]) -> (u32, u32, Vec<u8>) {
        let variables = Variables::uniform(kind, rows[0].len());
        let rows = rows.iter().map(|row| row.iter().map(|&x| Some(x)).collect());
        let data = Dataset::from_rows(&variables, rows).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        picture.write_png(&path, &data).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut levels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut levels).unwrap();
        (info.width, info.height, levels)
    }

    #[test]
    fn values_become_levels_by_their_kind() {
        let grey = |kind, row: &[f32]| written(&picture(1, row.len(), 1), kind, &[row]).2;
        assert_eq!(grey(VarKind::BINARY, &[0.0, 1.0]), [0, 255]);
        assert_eq!(grey(VarKind::Categorical { states: 256 }, &[0.0, 7.0, 255.0]), [0, 7, 255]);
        assert_eq!(grey(VarKind::Categorical { states: 3 }, &[0.0, 1.0, 2.0]), [0, 128, 255]);
        // Cut off at the bounds.
        assert_eq!(
            grey(VarKind::Real, &[-9.0, -1.0, 0.0, 0.5, 1.0, 3.0]),
            [0, 0, 128, 191, 255, 255]
        );
    }

    #[test]
    fn what_was_taken_off_is_added_before_drawing() {
        let mut picture = picture(1, 2, 1);
        picture.offset = vec![1.0, -0.5];
        assert_eq!(written(&picture, VarKind::Real, &[&[0.0, 0.0]]).2, [255, 64]);
    }

    #[test]
    fn images_stand_row_by_row_with_gaps_between() {
        let rows: [&[f32]; 3] = [&[1.0, 0.0], &[0.0, 1.0], &[1.0, 1.0]];
        let (width, height, levels) = written(&picture(2, 1, 1), VarKind::BINARY, &rows);
        assert_eq!((width, height), (7, 2));
        let g = GREY;
        assert_eq!(levels, [255, g, g, 0, g, g, 255, 0, g, g, 255, g, g, 255]);
        // As many as fill a square.
        let rows = [[0.0f32].as_slice(); 9];
        assert_eq!(written(&picture(1, 1, 1), VarKind::BINARY, &rows).0, 7);
    }

    #[test]
    fn colours_are_the_channels_of_a_place() {
        let row: &[f32] = &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let (width, height, levels) = written(&picture(1, 2, 3), VarKind::BINARY, &[row]);
        assert_eq!((width, height, &levels[..]), (2, 1, &[255, 0, 0, 0, 0, 255][..]));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let code = |picture: &Picture, variables: &Variables| {
            picture.check(variables).map_err(|fault| fault.code.name())
        };
        let bits = Variables::binary(12);
        assert_eq!(code(&picture(2, 2, 3), &bits), Ok(()));
        assert_eq!(code(&picture(2, 5, 1), &bits), Err("E0501"));
        assert_eq!(code(&picture(usize::MAX, 2, 1), &bits), Err("E0501"));
        let fine = Variables::uniform(VarKind::Categorical { states: 257 }, 12);
        assert_eq!(code(&picture(3, 4, 1), &fine), Err("E0502"));
        let fault = |images| Grid::of(picture(1000, 1000, 1).shape, images).err();
        assert_eq!(fault(0).map(|fault| fault.code), Some(Code::E0503));
        assert_eq!(fault(1000).map(|fault| fault.code), Some(Code::E0702));
        assert!(fault(100).is_none());
    }
}
