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

/// The text that [`write_csv`] writes.
pub fn csv_text(data: &Dataset) -> String {
    let mut text = Vec::new();
    // Neither writing to memory nor the digits of numbers can fail.
    let _ = write_rows(&mut text, data);
    String::from_utf8(text).unwrap_or_default()
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
/// rename would replace it. The contents are on the disk before the name is, so that not even a power
/// cut leaves a part of a file.
pub(crate) fn write_whole(
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
    file.as_file().sync_all()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::csv::read_csv;
    use crate::variables::Variables;

    fn mixed() -> Variables {
        Variables::named([
            ("wind".into(), VarKind::Categorical { states: 1 << 24 }),
            ("heat".into(), VarKind::Real),
        ])
    }

    #[test]
    fn what_is_written_reads_back_to_the_same_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.data");
        let reals = [f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.1, -7.0, 16_777_217.0, 1.0 / 3.0];
        let mut rows: Vec<_> =
            reals.iter().map(|&real| vec![Some(16_777_215.0), Some(real)]).collect();
        rows.push(vec![None, None]);
        let data = Dataset::from_rows(&mixed(), rows).unwrap();
        write_csv(&path, &data).unwrap();
        assert_eq!(read_csv(&path, &mixed()).unwrap().fingerprint(), data.fingerprint());
        insta::assert_snapshot!(std::fs::read_to_string(&path).unwrap(), @"
        16777215,3.4028235e38
        16777215,1.1754944e-38
        16777215,1e-45
        16777215,0.1
        16777215,-7.0
        16777215,16777216.0
        16777215,0.33333334
        ,
        ");
    }

    #[test]
    fn missing_values_of_a_single_column_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.data");
        let rows = [None, Some(1.0), None].map(|value| vec![value]);
        let data = Dataset::from_rows(&Variables::binary(1), rows).unwrap();
        write_csv(&path, &data).unwrap();
        let back = read_csv(&path, &Variables::binary(1)).unwrap();
        assert_eq!(back.fingerprint(), data.fingerprint());
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_and_its_folder_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.data");
        std::fs::write(&path, "before").unwrap();
        let failed = write_whole(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("stopped"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "stopped");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_a_diagnostic() {
        let folder = tempfile::tempdir().unwrap();
        let data = Dataset::from_rows(&mixed(), []).unwrap();
        for path in [folder.path().join("absent/f.data"), folder.path().to_path_buf()] {
            assert_eq!(write_csv(&path, &data).unwrap_err().code, Code::E0001);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_a_device_is_not_replaced() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("f.data"), folder.path().join("link"));
        std::fs::write(&file, "before").unwrap();
        symlink(&file, &link).unwrap();
        write_whole(&link, |out| out.write_all(b"after")).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");
        assert!(link.is_symlink());

        let null = Path::new("/dev/null");
        write_whole(null, |out| out.write_all(b"gone")).unwrap();
        assert!(null.metadata().unwrap().file_type().is_char_device());
    }
}
