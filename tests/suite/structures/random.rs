//! Random descriptions of each structure.

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The structures that are made by a rule.
pub const STRUCTURES: [&str; 8] =
    ["RatSpn", "Einet", "Hmm", "Hmm untied", "QuadTree", "PoonDomingos", "Vtree", "Hclt"];

/// Which kinds of variables a circuit may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// Binary and other categorical variables, few enough to list their worlds.
    Discrete,
    /// Real ones too.
    Any,
}

/// What the descriptions of a structure must have had, all together.
pub const FEATURES: [&str; 12] = [
    "Direct",
    "WeightDecay",
    "Hyper",
    "Slices",
    "PerLayer",
    "Binary",
    "Real",
    "Indicators",
    "Categorical()",
    "Binomial()",
    "Poisson()",
    "max_var",
];

/// Which of [`FEATURES`] a description has.
pub fn features(text: &str) -> Vec<&'static str> {
    FEATURES.into_iter().filter(|feature| text.contains(feature)).collect()
}

/// A random description of a structure: a function of its arguments.
pub fn description(structure: &str, seed: u64, kinds: Kinds) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let parameterizer =
        ["Direct", "WeightDecay(lambda: 1e-4)", "Hyper(embedding: 3, hidden: [5, 4])"]
            [seed as usize % 3];
    // Every layer has a multiple of one column.
    let sectors = ["PerLayer", "Slices(1)"][seed as usize / 3 % 2];
    let (text, count, tied) = fields(structure, &mut rng);
    let variables = variables(count, tied, kinds, &mut rng);
    let leaves = leaves(&variables, &mut rng);
    let structure = structure.split(' ').next().unwrap_or_default();
    format!(
        "(variables: {variables}, structure: {structure}({text}), leaves: {leaves}, \
         parameterizer: {parameterizer}, sectors: {sectors})"
    )
}

/// The fields of a structure, the number of its variables, and whether they must be of one kind.
fn fields(structure: &str, rng: &mut ChaCha8Rng) -> (String, usize, bool) {
    let units = rng.random_range(1..=4);
    let n = rng.random_range(1..=7);
    let seed = rng.random_range(0..1000);
    let replicas = rng.random_range(1..=3);
    match structure {
        "RatSpn" => (format!("units: {units}, replicas: {replicas}, seed: {seed}"), n, false),
        "Einet" => {
            let depth = match rng.random_range(0..5) {
                4 => String::new(),
                depth => format!(", depth: {depth}"),
            };
            (format!("units: {units}, replicas: {replicas}, seed: {seed}{depth}"), n, false)
        }
        "Hmm" => (format!("units: {units}"), n, true),
        "Hmm untied" => (format!("units: {units}, tied: false"), n, false),
        "QuadTree" => {
            let (shape, count) = shape(rng);
            (format!("shape: {shape:?}, units: {units}"), count, false)
        }
        "PoonDomingos" => {
            let (shape, count) = shape(rng);
            let mut axes: Vec<usize> = (0..shape.len()).collect();
            axes.shuffle(rng);
            axes.truncate(rng.random_range(1..=shape.len()));
            axes.sort_unstable();
            let pieces: Vec<u32> =
                axes.iter().map(|&axis| rng.random_range(1..=shape[axis])).collect();
            (
                format!("shape: {shape:?}, axes: {axes:?}, pieces: {pieces:?}, units: {units}"),
                count,
                false,
            )
        }
        "Vtree" => (format!("text: {:?}, units: {units}", vtree(n, rng)), n, false),
        _ => {
            let mut vars: Vec<usize> = (0..n).collect();
            vars.shuffle(rng);
            let edges: Vec<(usize, usize)> =
                (1..n).map(|at| (vars[at], vars[rng.random_range(0..at)])).collect();
            (format!("units: {units}, tree: {edges:?}"), n, false)
        }
    }
}

/// A grid of one to three axes, and a number of variables of one or several channels.
fn shape(rng: &mut ChaCha8Rng) -> (Vec<u32>, usize) {
    let shape: Vec<u32> = match rng.random_range(0..6) {
        0 => vec![rng.random_range(1..=6)],
        1 => vec![2, 1, 3],
        2 => vec![3, 2],
        3 => vec![1, 1],
        _ => vec![2, rng.random_range(1..=3)],
    };
    let places = shape.iter().product::<u32>() as usize;
    let channels = if places <= 3 { rng.random_range(1..=2) } else { 1 };
    (shape, places * channels)
}

/// The text of a random vtree.
fn vtree(n: usize, rng: &mut ChaCha8Rng) -> String {
    let mut ids: Vec<usize> = (0..2 * n - 1).collect();
    ids.shuffle(rng);
    let mut text = format!("c random\nvtree {}\n", 2 * n - 1);
    let mut open = ids[..n].to_vec();
    for (index, id) in open.iter().enumerate() {
        text += &format!("L {id} {}\n", index + 1);
    }
    for id in &ids[n..] {
        open.shuffle(rng);
        let (left, right) = (open.pop().unwrap_or(0), open.pop().unwrap_or(0));
        text += &format!("I {id} {left} {right}\n");
        open.push(*id);
    }
    text
}

fn variables(count: usize, tied: bool, kinds: Kinds, rng: &mut ChaCha8Rng) -> String {
    let choices: &[&str] = match kinds {
        Kinds::Discrete => &["Binary", "Binary", "Categorical(3)"],
        Kinds::Any => &["Binary", "Categorical(3)", "Real", "Real"],
    };
    let mut kind = || choices.choose(rng).copied().unwrap_or("Binary");
    let one = kind();
    let named: Vec<String> = (0..count)
        .map(|at| {
            let kind = if tied { one } else { kind() };
            format!("(name: \"v{at}\", kind: {kind})")
        })
        .collect();
    format!("Named([{}])", named.join(", "))
}

fn leaves(variables: &str, rng: &mut ChaCha8Rng) -> String {
    let pick = |choices: &[&'static str], rng: &mut ChaCha8Rng| {
        choices.choose(rng).copied().unwrap_or_default()
    };
    let binary = pick(&["Indicators", "Bernoulli()", "Categorical()"], rng);
    let categorical = pick(&["Indicators", "Categorical()", "Binomial()", "Binomial(n: 2)"], rng);
    let real = pick(&["Gaussian()", "Gaussian(min_var: 0.3, max_var: 2.0)", "Poisson()"], rng);
    let real = if variables.contains("Real") { real } else { "Gaussian()" };
    format!("PerKind(binary: {binary}, categorical: {categorical}, real: {real})")
}
