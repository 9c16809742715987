//! Writing data files, whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::diag::{Code, Diagnostic};
use crate::ids::Id;
use crate::variables::VarKind;

use super::{Dataset, shown};

/// Writes a data set as comma-separated values that [`read_csv`](super::csv::read_csv) reads back
/// to equal values: categories as integers, reals in the shortest form that reads back to the same
/// `f32`, a missing value as an empty field.
///
/// # Errors
/// E0001 when the file cannot be written; an earlier file of that name is then as it was.
pub fn write_csv(path: &Path, data: &Dataset) -> Result<(), Diagnostic> {
    write_whole(path, |out| write_rows(out, data)).map_err(|error| {
        Diagnostic::new(Code::E0001, format!("the file cannot be written: {error}"))
            .in_file(shown(path))
    })
}

fn write_rows(out: &mut dyn Write, data: &Dataset) -> io::Result<()> {
    for row in 0..data.rows() {
        for var in data.variables().ids() {
            if var.index() > 0 {
                out.write_all(b",")?;
            }
            match (data.value(row, var), data.variables().kind(var)) {
                (None, _) => {}
                (Some(value), VarKind::Categorical { .. }) => write!(out, "{value}")?,
                (Some(value), VarKind::Real) => write!(out, "{value:?}")?,
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Writes a file through a temporary one in the same folder, renamed when it is complete. A link is
/// followed; what is not a regular file, such as a pipe or a device, is written to directly, for a
/// rename would replace it.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let target = match path.metadata() {
        Ok(about) if !about.is_file() => {
            let mut out = BufWriter::new(File::options().write(true).open(path)?);
            write(&mut out)?;
            return out.flush();
        }
        Ok(_) => path.canonicalize()?,
        Err(_) => path.to_path_buf(),
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut out = BufWriter::new(temporary_in(folder)?);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

/// A temporary file that, renamed, has the permissions any new file has.
fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(permissions);
    builder.tempfile_in(folder)
}
