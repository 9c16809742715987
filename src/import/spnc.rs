//! Sum-product networks of SPFlow as the compiler SPNC stores them: one message of Cap'n Proto.
//!
//! A message is a table of segments and then the segments, each a run of 64-bit words. A *pointer* is
//! a word that says where a structure or a list begins; one of its kinds leads to another segment.
//! Only what the schema of these files has is read: structures, lists of numbers, lists of
//! structures. The layout of each structure follows from the order of its fields in the schema.
//!
//! | structure | words of numbers | pointers |
//! |---|---|---|
//! | `Header` | kind: 0 model, 1 query (u16) | that |
//! | `Query` | | its joint probability |
//! | `JointProbability` | | its model |
//! | `Model` | root (i32), features (i32) | name, type, scope, nodes |
//! | `Node` | id (i32), is root (bit 32), kind (u16 at bit 48) | by kind |
//! | 0 product, 1 sum | | children (i32), weights (f64) |
//! | 2 histogram | type, meta-type (u16), variable (i32) | breaks (i32), densities (f64), … |
//! | 3 Gaussian | mean, deviation (f64), variable (i32) | |
//! | 4 categorical | variable (i32) | probabilities (f64) |
//!
//! Pointers may lead many times to one place; the words followed are counted, so that a small file
//! costs little whatever it says.

use super::nodes::{MOST_VARIABLES, Nodes, What};
use super::{Parsed, kinds};
use crate::diag::{Code, Diagnostic, Span};
use crate::ids::VarId;
use std::collections::HashMap;

/// Words that may be followed for each word of the file.
const FOLLOWED: usize = 8;
/// Segments at most.
const MOST_SEGMENTS: usize = 1 << 12;
/// States of a variable at most.
const MOST_STATES: i32 = 1 << 16;

/// Reads a network.
///
/// # Errors
/// E0801 for what is no such message, E0802 for ids, E0302 for weights that do not sum to one. None
/// has a place.
pub(super) fn read(bytes: &[u8]) -> Result<Parsed, Diagnostic> {
    let mut message = Message::new(bytes)?;
    let header = message.root()?;
    let mut model = message.structure(header, 0)?;
    if header.u16_at(&message, 0) == 1 {
        let joint = message.structure(model, 0)?;
        model = message.structure(joint, 0)?;
    }
    let list = message.list(model, 3)?;
    let mut index = HashMap::with_capacity(list.len);
    let mut items = Vec::with_capacity(list.len);
    for at in 0..list.len {
        let item = list.structure(&message, at)?;
        let id = item.i32_at(&message, 0);
        if index.insert(id, at as u32).is_some() {
            return Err(fault(Code::E0802, format!("the id {id} is defined twice")));
        }
        items.push((id, item));
    }
    let root_id = model.i32_at(&message, 0);
    let Some(&root) = index.get(&root_id) else {
        return Err(fault(Code::E0802, format!("no node has the id {root_id} of the root")));
    };
    let mut nodes = Nodes::default();
    for (id, item) in items {
        let (what, inputs) = node(&mut message, item, &index).map_err(|fault| Diagnostic {
            message: format!("node {id}: {}", fault.message),
            ..fault
        })?;
        nodes.push(what, Some(u64::from(id as u32)), Span::default(), inputs);
    }
    let variables = kinds(&nodes)?;
    Ok(Parsed { nodes, root, variables, normalised: true, deterministic: false, weights: None })
}

fn fault(code: Code, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(code, message)
}

fn damaged(what: &str) -> Diagnostic {
    fault(Code::E0801, format!("the file is no stored network: {what}"))
}

type Node = (What, Vec<(u32, f64)>);

fn node(
    message: &mut Message<'_>,
    item: Struct,
    index: &HashMap<i32, u32>,
) -> Result<Node, Diagnostic> {
    let kind = item.u16_at(message, 6);
    let body = message.structure(item, 0)?;
    match kind {
        0 => {
            let inputs = inputs(message, body, index)?;
            Ok((What::Product, inputs.into_iter().map(|input| (input, 0.0)).collect()))
        }
        1 => {
            let inputs = inputs(message, body, index)?;
            let weights = message.list(body, 1)?.f64s(message)?;
            if weights.len() != inputs.len() {
                return Err(fault(Code::E0303, "as many weights as inputs are needed"));
            }
            distribution(&weights)?;
            let logs = weights.iter().map(|weight| weight.ln());
            Ok((What::Sum, inputs.into_iter().zip(logs).collect()))
        }
        2 => {
            let var = variable(body.i32_at(message, 4))?;
            let breaks = message.list(body, 0)?.i32s(message)?;
            let densities = message.list(body, 1)?.f64s(message)?;
            Ok((What::Categorical { var, p: histogram(&breaks, &densities)? }, Vec::new()))
        }
        3 => {
            let var = variable(body.i32_at(message, 16))?;
            let (mean, deviation) = (body.f64_at(message, 0), body.f64_at(message, 8));
            let variance = deviation * deviation;
            if !mean.is_finite() || !variance.is_normal() {
                return Err(fault(Code::E0304, "a Gaussian of no finite mean or no variance"));
            }
            Ok((What::Gaussian { var, mean, variance }, Vec::new()))
        }
        4 => {
            let var = variable(body.i32_at(message, 0))?;
            let p = message.list(body, 0)?.f64s(message)?;
            Ok((What::Categorical { var, p: distribution(&p)? }, Vec::new()))
        }
        _ => Err(damaged("a node of an unknown kind")),
    }
}

fn inputs(
    message: &mut Message<'_>,
    body: Struct,
    index: &HashMap<i32, u32>,
) -> Result<Vec<u32>, Diagnostic> {
    let children = message.list(body, 0)?.i32s(message)?;
    if children.is_empty() {
        return Err(fault(Code::E0206, "a node without inputs"));
    }
    let find = |child: &i32| {
        let known = index.get(child).copied();
        known.ok_or_else(|| fault(Code::E0802, format!("no node has the id {child}")))
    };
    children.iter().map(find).collect()
}

fn variable(number: i32) -> Result<VarId, Diagnostic> {
    match u32::try_from(number) {
        Ok(var) if var < MOST_VARIABLES => Ok(VarId(var)),
        _ => Err(fault(Code::E0801, format!("{number} is no variable"))),
    }
}

/// Probabilities, summing to one exactly.
fn distribution(p: &[f64]) -> Result<Vec<f64>, Diagnostic> {
    let total: f64 = p.iter().sum();
    if p.iter().all(|&p| p >= 0.0) && (total - 1.0).abs() <= 1e-3 {
        return Ok(p.iter().map(|p| p / total).collect());
    }
    Err(fault(Code::E0302, format!("probabilities that sum to {total:.6}, not to 1")))
}

/// The probability of each state from 0 on, of a histogram with whole breaks.
fn histogram(breaks: &[i32], densities: &[f64]) -> Result<Vec<f64>, Diagnostic> {
    let ascending = breaks.windows(2).all(|pair| pair[0] < pair[1]);
    let range = breaks.first().is_some_and(|&first| first >= 0)
        && breaks.last().is_some_and(|&last| last <= MOST_STATES);
    if !ascending || !range || breaks.len() != densities.len() + 1 {
        return Err(fault(Code::E0304, "a histogram of no ascending states, or of too many"));
    }
    let mut p = vec![0.0; breaks[0] as usize];
    for (pair, &density) in breaks.windows(2).zip(densities) {
        p.resize(pair[1] as usize, density);
    }
    distribution(&p)
}

/// A structure: its words of numbers, then its pointers.
#[derive(Clone, Copy)]
struct Struct {
    segment: usize,
    at: usize,
    words: usize,
    pointers: usize,
}

impl Struct {
    /// Bytes of its numbers; zero, the default of the format, beyond those it has.
    fn bytes<const N: usize>(self, message: &Message<'_>, byte: usize) -> [u8; N] {
        let start = self.at * 8 + byte;
        let within = byte + N <= self.words * 8;
        let bytes = message.segments[self.segment].get(start..start + N).filter(|_| within);
        bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn u16_at(self, message: &Message<'_>, byte: usize) -> u16 {
        u16::from_le_bytes(self.bytes(message, byte))
    }

    fn i32_at(self, message: &Message<'_>, byte: usize) -> i32 {
        i32::from_le_bytes(self.bytes(message, byte))
    }

    fn f64_at(self, message: &Message<'_>, byte: usize) -> f64 {
        f64::from_le_bytes(self.bytes(message, byte))
    }
}

/// A list: of numbers of some bytes, or of structures.
#[derive(Clone, Copy)]
struct List {
    segment: usize,
    /// The first element, in words.
    at: usize,
    len: usize,
    /// Bytes of an element.
    size: usize,
    /// Words and pointers of an element that is a structure.
    shape: (usize, usize),
}

impl List {
    fn structure(self, message: &Message<'_>, index: usize) -> Result<Struct, Diagnostic> {
        let (words, pointers) = self.shape;
        if words + pointers == 0 && self.len > 0 {
            return Err(damaged("a list of something else than structures"));
        }
        let at = self.at + index * (words + pointers);
        message.within(self.segment, at, words + pointers)?;
        Ok(Struct { segment: self.segment, at, words, pointers })
    }

    fn numbers<const N: usize>(self, message: &Message<'_>) -> Result<Vec<[u8; N]>, Diagnostic> {
        if self.len > 0 && self.size != N {
            return Err(damaged("numbers of another size"));
        }
        let bytes = message.segments[self.segment].get(self.at * 8..).unwrap_or(&[]);
        Ok(bytes.as_chunks::<N>().0.iter().take(self.len).copied().collect())
    }

    fn i32s(self, message: &Message<'_>) -> Result<Vec<i32>, Diagnostic> {
        Ok(self.numbers(message)?.into_iter().map(i32::from_le_bytes).collect())
    }

    fn f64s(self, message: &Message<'_>) -> Result<Vec<f64>, Diagnostic> {
        Ok(self.numbers(message)?.into_iter().map(f64::from_le_bytes).collect())
    }
}

/// A message, and how many words may still be followed.
struct Message<'a> {
    segments: Vec<&'a [u8]>,
    budget: usize,
}

impl<'a> Message<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Diagnostic> {
        let word = |at: usize| {
            let bytes = bytes.get(4 * at..4 * at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).map(|word| word as usize)
        };
        let cut = || damaged("it ends within its table of segments");
        let count = word(0).ok_or_else(cut)?.saturating_add(1);
        if count > MOST_SEGMENTS {
            return Err(damaged("too many segments"));
        }
        let mut at = (4 * (count + 1)).next_multiple_of(8);
        let mut segments = Vec::new();
        for segment in 0..count {
            let len = 8 * word(1 + segment).ok_or_else(cut)?;
            let segment = bytes.get(at..at + len).ok_or_else(|| damaged("it is cut off"))?;
            segments.push(segment);
            at += len;
        }
        Ok(Message { segments, budget: FOLLOWED * (bytes.len() / 8 + 1) })
    }

    fn word(&self, segment: usize, at: usize) -> Result<u64, Diagnostic> {
        let bytes = self.segments.get(segment).and_then(|words| words.get(8 * at..8 * at + 8));
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or_else(|| damaged("a pointer that leads out of it"))
    }

    /// Whether a segment has these words.
    fn within(&self, segment: usize, at: usize, words: usize) -> Result<(), Diagnostic> {
        let end = at.checked_add(words).and_then(|end| end.checked_mul(8));
        match self.segments.get(segment) {
            Some(bytes) if end.is_some_and(|end| end <= bytes.len()) => Ok(()),
            _ => Err(damaged("a pointer that leads out of it")),
        }
    }

    fn spend(&mut self, words: usize) -> Result<(), Diagnostic> {
        let left = self.budget.checked_sub(words + 1);
        self.budget = left.ok_or_else(|| damaged("its pointers lead too often to one place"))?;
        Ok(())
    }

    /// Follows pointers into other segments: the last pointer, and where what it means begins.
    fn resolve(&self, segment: usize, at: usize) -> Result<(u64, usize, usize), Diagnostic> {
        let pointer = self.word(segment, at)?;
        if pointer & 3 != 2 {
            return Ok((pointer, segment, target(pointer, at)?));
        }
        let (pad, other) = ((pointer as u32 >> 3) as usize, (pointer >> 32) as usize);
        let landing = self.word(other, pad)?;
        if pointer & 4 == 0 {
            return Ok((landing, other, target(landing, pad)?));
        }
        // Two words: the first says where the content begins, the second what it is.
        let (start, third) = ((landing as u32 >> 3) as usize, (landing >> 32) as usize);
        Ok((self.word(other, pad + 1)?, third, start))
    }

    fn root(&mut self) -> Result<Struct, Diagnostic> {
        self.structure_at(0, 0)
    }

    /// The structure that a pointer of another means.
    fn structure(&mut self, of: Struct, pointer: usize) -> Result<Struct, Diagnostic> {
        if pointer >= of.pointers {
            return Err(damaged("a structure that lacks a pointer"));
        }
        self.structure_at(of.segment, of.at + of.words + pointer)
    }

    fn structure_at(&mut self, segment: usize, at: usize) -> Result<Struct, Diagnostic> {
        let (pointer, segment, at) = self.resolve(segment, at)?;
        if pointer == 0 || pointer & 3 != 0 {
            return Err(damaged("no structure where one should be"));
        }
        let (words, pointers) = shape(pointer);
        self.within(segment, at, words + pointers)?;
        self.spend(words + pointers)?;
        Ok(Struct { segment, at, words, pointers })
    }

    /// The list that a pointer of a structure means; an absent one is empty.
    fn list(&mut self, of: Struct, pointer: usize) -> Result<List, Diagnostic> {
        let empty = List { segment: 0, at: 0, len: 0, size: 0, shape: (0, 0) };
        if pointer >= of.pointers || self.word(of.segment, of.at + of.words + pointer)? == 0 {
            return Ok(empty);
        }
        let (pointer, segment, at) = self.resolve(of.segment, of.at + of.words + pointer)?;
        if pointer & 3 != 1 {
            return Err(damaged("no list where one should be"));
        }
        let (kind, len) = ((pointer >> 32) & 7, (pointer >> 35) as usize);
        let size = match kind {
            4 => 4,
            5 => 8,
            7 => 0,
            _ => return Err(damaged("a list of an unexpected kind")),
        };
        if kind != 7 {
            let words = (len * size).div_ceil(8);
            self.within(segment, at, words)?;
            self.spend(words)?;
            return Ok(List { segment, at, len, size, shape: (0, 0) });
        }
        // The first word of a list of structures says how many there are, and of what shape.
        self.within(segment, at, len + 1)?;
        self.spend(len)?;
        let tag = self.word(segment, at)?;
        let (count, shape) = ((tag as u32 >> 2) as usize, shape(tag));
        if count.checked_mul(shape.0 + shape.1).is_none_or(|words| words > len) {
            return Err(damaged("a list that is longer than its words"));
        }
        match count > 0 && shape == (0, 0) {
            true => Err(damaged("a list of empty structures")),
            false => Ok(List { segment, at: at + 1, len: count, size, shape }),
        }
    }
}

/// Where what a pointer at `at` means begins.
fn target(pointer: u64, at: usize) -> Result<usize, Diagnostic> {
    let offset = (pointer as i32 >> 2) as isize;
    (at + 1).checked_add_signed(offset).ok_or_else(|| damaged("a pointer that leads out of it"))
}

/// Words of numbers, and pointers, of a structure.
fn shape(pointer: u64) -> (usize, usize) {
    (((pointer >> 32) & 0xffff) as usize, (pointer >> 48) as usize)
}
