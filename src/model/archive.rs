//! Sealed archives: named tensors and a description, in one safetensors file that shows every damage.
//!
//! The file is plain safetensors, readable by anything that reads those. Its metadata holds one
//! entry, a JSON text whose first field is the BLAKE3 hash of the whole file with the hash itself
//! taken as zeros. (One entry, because the order of several would be arbitrary; the first field, so
//! that the hash stands at a fixed place and is checked before anything is parsed.) What a file
//! declares is believed only after that, so a damaged one can make nothing large and no guess.
//!
//! Files are written whole or not at all, and equal contents make equal bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::write::write_whole;
use crate::diag::{Code, Diagnostic};

/// Bytes of the length of the header, which a safetensors file begins with.
const LENGTH: usize = 8;
/// The name of the one metadata entry.
const ENTRY: &str = "pcc";
/// How the header begins, up to the hash.
const OPENING: &[u8] = br#"{"__metadata__":{"pcc":"{\"blake3\":\""#;
/// Where the hash begins.
const SEAL: usize = LENGTH + OPENING.len();
/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;
/// What stands for the hash while it is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What kind of archive a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What messages call it, such as "model".
    pub name: &'static str,
    /// The version that is written, and the only one read.
    pub version: u32,
}

/// A tensor with its values, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its name, unique in the archive.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values; as many as the shape says.
    pub values: Vec<f32>,
}

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Its name, unique in the archive.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its values; as many as the shape says.
    pub values: &'a [f32],
}

impl View for TensorRef<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// The text in the metadata. The hash has to be its first field.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    blake3: String,
    format: String,
    version: u32,
    about: T,
}

/// Writes an archive through a temporary file.
///
/// # Errors
/// E0001 when the file cannot be written; an earlier file of that name is then as it was.
pub fn write(
    path: &Path,
    format: Format,
    about: &impl Serialize,
    tensors: &[TensorRef<'_>],
) -> Result<(), Diagnostic> {
    let failed = |error: &dyn std::fmt::Display| {
        Diagnostic::new(Code::E0001, format!("the {} cannot be written: {error}", format.name))
            .in_file(path.display().to_string())
    };
    let bytes = seal(format, about, tensors).map_err(|error| failed(&error))?;
    write_whole(path, |out| out.write_all(&bytes)).map_err(|error| failed(&error))
}

/// The bytes of an archive.
fn seal(
    format: Format,
    about: &impl Serialize,
    tensors: &[TensorRef<'_>],
) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let envelope = Envelope {
        blake3: BLANK.into(),
        format: format.name.into(),
        version: format.version,
        about,
    };
    let metadata = HashMap::from([(ENTRY.to_string(), serde_json::to_string(&envelope)?)]);
    let named = tensors.iter().map(|&tensor| (tensor.name, tensor));
    let mut bytes = safetensors::serialize(named, Some(metadata))?;
    let digest = digest(&bytes);
    bytes[SEAL..SEAL + DIGITS].copy_from_slice(digest.as_bytes());
    Ok(bytes)
}

/// The hash of an archive, whatever hash it holds.
fn digest(bytes: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..SEAL]);
    hasher.update(BLANK.as_bytes());
    hasher.update(&bytes[SEAL + DIGITS..]);
    hasher.finalize().to_hex().to_string()
}

/// Reads an archive: its description and its tensors, in the order of the file.
///
/// # Errors
/// E0001 when the file cannot be read, E0601 when it is not an archive of this format or is damaged
/// anywhere, E0603 when it is of another version.
pub fn read<T: DeserializeOwned>(
    path: &Path,
    format: Format,
) -> Result<(T, Vec<NamedTensor>), Diagnostic> {
    let fault = |code, message: String| Diagnostic::new(code, message).in_file(shown(path));
    let damaged = |what: &dyn std::fmt::Display| {
        fault(Code::E0601, format!("the {} is damaged: {what}", format.name))
    };
    let bytes = read_bytes(path, format)?;
    if digest(&bytes).as_bytes() != &bytes[SEAL..SEAL + DIGITS] {
        return Err(damaged(&"its contents do not match the hash in it")
            .help("it was cut short or changed after it was written; use another copy"));
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(ENTRY));
    let text = text.map_or("", String::as_str);
    let envelope: Envelope<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| damaged(&error))?;
    if envelope.format != format.name {
        let message = format!("this is a {}, not a {}", envelope.format, format.name);
        return Err(fault(Code::E0601, message));
    }
    if envelope.version != format.version {
        let message = format!(
            "the {} is of version {}; this program reads version {}",
            format.name, envelope.version, format.version
        );
        return Err(fault(Code::E0603, message));
    }
    let about = serde_json::from_value(envelope.about).map_err(|error| damaged(&error))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error))?;
    let mut read = Vec::new();
    for name in header.offset_keys() {
        let view = tensors.tensor(&name).map_err(|error| damaged(&error))?;
        if view.dtype() != Dtype::F32 {
            return Err(damaged(&format!("tensor `{name}` is not in single precision")));
        }
        let (numbers, _) = view.data().as_chunks();
        let values = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        read.push(NamedTensor { name, shape: view.shape().to_vec(), values });
    }
    Ok((about, read))
}

/// The bytes of a file that begins as an archive does; of another, only the beginning is read.
fn read_bytes(path: &Path, format: Format) -> Result<Vec<u8>, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        Diagnostic::new(Code::E0001, format!("the {} cannot be read: {error}", format.name))
            .in_file(shown(path))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Diagnostic::new(Code::E0001, "this is not a regular file").in_file(shown(path)));
    }
    let mut bytes = Vec::new();
    let opening = (SEAL + DIGITS) as u64;
    (&file).take(opening).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() < SEAL + DIGITS || bytes[LENGTH..SEAL] != *OPENING {
        let message = format!("this is not a {}, or its beginning is damaged", format.name);
        return Err(Diagnostic::new(Code::E0601, message).in_file(shown(path)));
    }
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Whether a file begins as an archive of any kind does.
pub fn is_archive(path: &Path) -> bool {
    let mut opening = [0; SEAL];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut opening));
    read.is_ok() && opening[LENGTH..] == *OPENING
}

/// A path as messages show it.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
