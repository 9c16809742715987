//! The files that a command names: none that it writes may be one that it reads, or writes besides.

use std::path::{Path, PathBuf};

use super::args::{Compile, Eval, Query, Sample, Train, Verb};
use super::failure::Failure;

/// A file of the command line, and by what it is named there.
type Named<'a> = (&'static str, Option<&'a Path>);

/// Refuses to lose a file of the user's, or half of what is asked for.
///
/// # Errors
/// A usage error that names the first two that are one file.
pub fn distinct(verb: &Verb) -> Result<(), Failure> {
    let (read, written) = files(verb);
    for (at, &(name, own)) in written.iter().enumerate() {
        let Some(place) = own.and_then(place) else { continue };
        let others = read.iter().chain(&written[..at]);
        let is_same = |(_, other): &&Named<'_>| {
            other.and_then(self::place).is_some_and(|other| other == place)
        };
        if let Some((other, _)) = others.into_iter().find(is_same) {
            let path = place.display();
            return Err(Failure::usage(format!("{name} would write over {other}, `{path}`")));
        }
    }
    Ok(())
}

/// The files that a command reads, and those that it writes.
fn files(verb: &Verb) -> (Vec<Named<'_>>, Vec<Named<'_>>) {
    match verb {
        Verb::Train(Train { circuit, train, valid, test, output, log, plot, .. }) => (
            vec![
                ("the circuit", Some(circuit)),
                ("the rows of `--train`", Some(train)),
                ("the rows of `--valid`", valid.as_deref()),
                ("the rows of `--test`", test.as_deref()),
            ],
            vec![
                ("`-o`", Some(output)),
                ("`--log`", log.as_deref()),
                ("`--plot`", plot.as_deref()),
            ],
        ),
        Verb::Eval(Eval { model, data, per_row, .. }) => (
            vec![("the model", Some(model)), ("the rows of `--data`", Some(data))],
            vec![("`--per-row`", per_row.as_deref())],
        ),
        Verb::Query(Query { model, data, other, output, .. }) => (
            vec![
                ("the model", Some(model)),
                ("the rows of `--data`", data.as_deref()),
                ("the model of `--other`", other.as_deref()),
            ],
            vec![("`-o`", Some(output))],
        ),
        Verb::Sample(Sample { model, given, offset, output, .. }) => (
            vec![
                ("the model", Some(model)),
                ("the rows of `--given`", given.as_deref()),
                ("the row of `--offset`", offset.as_deref()),
            ],
            vec![("`-o`", Some(output))],
        ),
        Verb::Compile(Compile { circuit, data, output, .. }) => (
            vec![("the circuit", Some(circuit)), ("the rows of `--data`", data.as_deref())],
            vec![("`-o`", output.as_deref())],
        ),
        // These write no file that the user names, or a folder of their own.
        Verb::Check(_) | Verb::Inspect(_) | Verb::Reproduce(_) | Verb::Bench(_) => {
            (Vec::new(), Vec::new())
        }
    }
}

/// Where a file lies, or would; none of standard output, or of what is no file, such as a device.
fn place(path: &Path) -> Option<PathBuf> {
    if path == Path::new("-") || path.metadata().is_ok_and(|about| !about.is_file()) {
        return None;
    }
    if let Ok(place) = path.canonicalize() {
        return Some(place);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    Some(folder.join(path.file_name()?))
}
