//! `.nnf`: deterministic decomposable negation normal forms, in the dialects of two compilers.
//!
//! ```text
//! nnf 4 2 2        c2d: numbers of nodes, edges and variables
//! L 1              node 0, a literal
//! L -2             node 1
//! A 2 0 1          node 2: and, of two nodes; `A 0` is true
//! O 1 2 2 3        node …: or, deciding variable 1 (0 for none), of two nodes; `O 0 0` is false
//! ```
//! ```text
//! o 1 0            d4: node 1 is an or; `a` and, `t` true, `f` false
//! t 2 0
//! 1 2 -3 4 0       an edge from 1 to 2: node 2 and the literals ¬3 and 4
//! ```
//! In d4's dialect the first node is the root, edges may stand anywhere, and the variables are those up
//! to the greatest that is named.
//!
//! Both compilers make ors of which the inputs exclude each other, and this is taken from the format,
//! except that d4's must show it: two branches differ in a literal on their edges. Of c2d's it is
//! checked that the literals of the decided variable, where they stand right below, differ.
//!
//! The circuit is the uniform distribution over the models, or the one that literal weights give.

use std::collections::HashMap;

use super::Parsed;
use super::lines::{Line, Text};
use super::nodes::{MOST_VARIABLES, Names, Nodes, What, literal};
use super::weights::Weights;
use crate::diag::{Code, Diagnostic, Span};
use crate::ids::VarId;
use crate::variables::Variables;

/// Reads either dialect; the first line tells which.
///
/// # Errors
/// E0801 for a line of neither dialect, E0802 for ids, E0803 for an or of which the inputs are seen
/// not to exclude each other.
pub(super) fn read(text: Text<'_>, weights: Weights) -> Result<Parsed, Diagnostic> {
    let first = text.lines("c").next().and_then(|mut line| line.field());
    let (nodes, root, variables) = match first {
        Some(field) if field.text == "nnf" => c2d(text)?,
        Some(_) => d4(text)?,
        None => return Err(text.fault_at_end(Code::E0801, "a file without nodes")),
    };
    Ok(Parsed {
        nodes,
        root,
        variables: Variables::binary(variables as usize),
        normalised: false,
        deterministic: true,
        weights: Some(weights),
    })
}

/// The nodes, the root and the number of variables.
type Read = (Nodes, u32, u32);

fn c2d(text: Text<'_>) -> Result<Read, Diagnostic> {
    let mut nodes = Nodes::default();
    let mut lines = text.lines("c");
    let Some(mut header) = lines.next() else {
        return Err(text.fault_at_end(Code::E0801, "a file without nodes"));
    };
    header.field();
    let promised: u64 = header.number("a number of nodes")?;
    header.number::<u64>("a number of edges")?;
    let field = header.expect("a number of variables")?;
    let variables: u32 = header.parse(field, "a number of variables")?;
    if variables > MOST_VARIABLES {
        let message = format!("at most {MOST_VARIABLES} variables are allowed");
        return Err(header.fault_at(field, Code::E0801, message));
    }
    header.end()?;
    for mut line in lines {
        let kind = line.expect("a kind of line")?;
        let name = Some(nodes.len() as u64);
        match kind.text {
            "L" => {
                let field = line.expect("a literal")?;
                let what = literal(&line, field)?;
                if matches!(what, What::Indicator { var, .. } if var.0 >= variables) {
                    let message = format!("the first line promises {variables} variables only");
                    return Err(line.fault_at(field, Code::E0801, message));
                }
                nodes.leaf(what, name, line.span());
            }
            "A" => {
                let inputs = c2d_inputs(&mut line, nodes.len())?;
                let what = if inputs.is_empty() { What::True } else { What::Product };
                nodes.push(what, name, line.span(), inputs);
            }
            "O" => {
                let decided: u32 = line.number("the variable that is decided")?;
                let inputs = c2d_inputs(&mut line, nodes.len())?;
                check_decision(&nodes, &line, decided, &inputs)?;
                let what = if inputs.is_empty() { What::False } else { What::Sum };
                nodes.push(what, name, line.span(), inputs);
            }
            _ => return Err(line.fault_at(kind, Code::E0801, "not `L`, `A`, `O` or `c`")),
        }
        line.end()?;
    }
    let made = nodes.len();
    if made == 0 || (made as u64) < promised {
        let message = format!("the first line promises {promised} nodes, the file has {made}");
        return Err(text.fault_at_end(Code::E0801, message).help("the file may be cut off"));
    }
    Ok((nodes, made as u32 - 1, variables))
}

fn c2d_inputs(line: &mut Line<'_>, known: usize) -> Result<Vec<(u32, f64)>, Diagnostic> {
    let count: u32 = line.number("a number of inputs")?;
    let mut inputs = Vec::new();
    for _ in 0..count {
        let field = line.expect("an input")?;
        let input: u32 = line.parse(field, "an input")?;
        if input as usize >= known {
            let message = format!("{input} is none of the {known} nodes before this line");
            return Err(line
                .fault_at(field, Code::E0802, message)
                .help("inputs are named by their line, the first node being 0"));
        }
        inputs.push((input, 0.0));
    }
    Ok(inputs)
}

/// The state of a variable that a node demands right away: as a literal, or an and of it.
fn demanded(nodes: &Nodes, node: u32, decided: VarId) -> Option<u32> {
    let of = |node: u32| match nodes.get(node).what {
        What::Indicator { var, state } if var == decided => Some(state),
        _ => None,
    };
    match nodes.get(node).what {
        What::Product => nodes.inputs(node).iter().find_map(|&(input, _)| of(input)),
        _ => of(node),
    }
}

fn check_decision(
    nodes: &Nodes,
    line: &Line<'_>,
    decided: u32,
    inputs: &[(u32, f64)],
) -> Result<(), Diagnostic> {
    let Some(var) = decided.checked_sub(1).map(VarId) else { return Ok(()) };
    let mut seen = [false; 2];
    for state in inputs.iter().filter_map(|&(input, _)| demanded(nodes, input, var)) {
        if std::mem::replace(&mut seen[state as usize], true) {
            let message = format!("two inputs of this or demand the same of variable {decided}");
            return Err(line
                .fault(Code::E0803, message)
                .help("inputs of an or exclude each other"));
        }
    }
    Ok(())
}

/// An edge of d4's dialect.
struct Edge {
    to: u32,
    /// Distinct literals, ascending.
    literals: Vec<i64>,
    span: Span,
}

/// A node of d4's dialect, with its edges.
struct Vertex<'a> {
    kind: &'a str,
    name: u64,
    line: Line<'a>,
    edges: Vec<Edge>,
}

fn d4(text: Text<'_>) -> Result<Read, Diagnostic> {
    let mut names = Names::default();
    let mut vertices: Vec<Vertex<'_>> = Vec::new();
    for mut line in text.lines("c") {
        let first = line.expect("a kind of line")?;
        if let "o" | "a" | "t" | "f" = first.text {
            let field = line.expect("an id")?;
            let name: u64 = line.parse(field, "an id")?;
            names.define(&line, field, name, vertices.len() as u32)?;
            end_of_d4(&mut line)?;
            vertices.push(Vertex { kind: first.text, name, line, edges: Vec::new() });
            continue;
        }
        let from: u64 = line.parse(first, "`o`, `a`, `t`, `f` or the id of a node")?;
        let Some(from) = names.get(from) else {
            let message = format!("no line before this one defines {from}");
            return Err(line.fault_at(first, Code::E0802, message));
        };
        let to = names.read(&mut line, "the id of a node")?;
        let mut literals = Vec::new();
        loop {
            let field = line.expect("a literal or the closing 0")?;
            if field.text == "0" {
                break;
            }
            literal(&line, field)?;
            literals.push(line.parse(field, "a literal")?);
        }
        line.end()?;
        literals.sort_unstable();
        literals.dedup();
        vertices[from as usize].edges.push(Edge { to, literals, span: line.span() });
    }
    if vertices.is_empty() {
        return Err(text.fault_at_end(Code::E0801, "a file without nodes"));
    }
    for vertex in &vertices {
        check_vertex(vertex)?;
    }
    Ok(d4_nodes(&vertices))
}

fn end_of_d4(line: &mut Line<'_>) -> Result<(), Diagnostic> {
    let field = line.expect("the closing 0")?;
    if field.text != "0" {
        return Err(line.fault_at(field, Code::E0801, "the line does not close with 0"));
    }
    line.end()
}

fn check_vertex(vertex: &Vertex<'_>) -> Result<(), Diagnostic> {
    let fault = |code, message: String| Err(vertex.line.fault(code, message));
    let constant = matches!(vertex.kind, "t" | "f");
    if vertex.edges.is_empty() != constant {
        let message = match constant {
            true => format!("node {} is a constant, and has edges", vertex.name),
            false => format!("node {} has no edges", vertex.name),
        };
        return fault(Code::E0801, message);
    }
    if vertex.kind != "o" {
        return Ok(());
    }
    let excludes = |a: &Edge, b: &Edge| {
        a.literals.iter().any(|literal| b.literals.binary_search(&-literal).is_ok())
    };
    for (index, a) in vertex.edges.iter().enumerate() {
        if !vertex.edges[..index].iter().all(|b| excludes(a, b)) {
            let message = format!("no literal tells the branches of node {} apart", vertex.name);
            return fault(Code::E0803, message);
        }
    }
    Ok(())
}

/// The same as nodes, in the order of the file, behind a node for each literal.
fn d4_nodes(vertices: &[Vertex<'_>]) -> Read {
    let edges = || vertices.iter().flat_map(|vertex| &vertex.edges);
    let mut literals: Vec<(i64, Span)> = (edges())
        .flat_map(|edge| edge.literals.iter().map(|&literal| (literal, edge.span)))
        .collect();
    literals.sort_by_key(|&(literal, _)| literal);
    literals.dedup_by_key(|&mut (literal, _)| literal);
    let mut nodes = Nodes::default();
    let mut node_of = HashMap::with_capacity(literals.len());
    let mut variables = 0;
    for (literal, span) in literals {
        let var = literal.unsigned_abs() as u32;
        variables = variables.max(var);
        let what = What::Indicator { var: VarId(var - 1), state: u32::from(literal > 0) };
        node_of.insert(literal, nodes.leaf(what, None, span));
    }
    // Branches of one literal or more are ands; they come before all nodes, so that these have
    // places that are known ahead.
    let branches = edges().filter(|edge| !edge.literals.is_empty()).count();
    let first = (nodes.len() + branches) as u32;
    let mut places = Vec::with_capacity(branches);
    for edge in edges() {
        if edge.literals.is_empty() {
            places.push(first + edge.to);
            continue;
        }
        let conjuncts = edge.literals.iter().map(|literal| node_of[literal]);
        let inputs = conjuncts.chain([first + edge.to]).map(|input| (input, 0.0));
        places.push(nodes.push(What::Product, None, edge.span, inputs));
    }
    let mut places = places.into_iter();
    for vertex in vertices {
        let what = match vertex.kind {
            "t" => What::True,
            "f" => What::False,
            "a" => What::Product,
            _ => What::Sum,
        };
        let inputs = places.by_ref().take(vertex.edges.len()).map(|input| (input, 0.0));
        nodes.push(what, Some(vertex.name), vertex.line.span(), inputs);
    }
    (nodes, first, variables)
}
