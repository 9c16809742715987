//! How the time and the memory of compiling grow with the circuit, and what three large circuits take.
//!
//! Run with `cargo bench --bench compile`. A RAT-SPN of one replica over n variables is compiled for
//! n = 1,024, 2,048, …, 65,536: read, built, checked, rewritten, its parameters bound, and planned.
//! If that takes a · nᵇ, its logarithm is linear in that of n; the exponents b are those of the least
//! squares. Memory is the greatest sum of allocated bytes. Then the program itself is run on three
//! large circuits; there memory is what the system says was resident at most.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pcc::compile::{Options, compile};
use pcc::diag::Source;
use pcc::param::registry::Registry;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::structure;
use peak_alloc::PeakAlloc;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Sizes: this, doubled up to so many times.
const LEAST: usize = 1 << 10;
const DOUBLINGS: usize = 6;
/// A time is the median of so many.
const REPEATS: usize = 9;
/// The greatest exponents that are wanted of time and memory.
const WANTED: [f64; 2] = [1.15, 1.03];
/// Nodes of the graph that is written out, at least.
const NODES: usize = 100_000;
/// Its variables.
const VARIABLES: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    growth()?;
    println!();
    large()
}

/// Prints how compiling grows.
fn growth() -> Result<(), Box<dyn Error>> {
    println!("variables       ms        MiB");
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    for n in (0..=DOUBLINGS).map(|doubling| LEAST << doubling) {
        let text = rat_spn(n, 1);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        compiled(&text)?;
        let peak = (ALLOCATOR.peak_usage() - before) as f64;
        let seconds = || -> Result<f64, Box<dyn Error>> {
            let start = Instant::now();
            compiled(&text)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let mut runs = (0..REPEATS).map(|_| seconds()).collect::<Result<Vec<_>, _>>()?;
        runs.sort_by(f64::total_cmp);
        let time = runs[REPEATS / 2];
        println!("{n:9}  {:7.2}  {:9.2}", 1e3 * time, peak / (1 << 20) as f64);
        times.push((n as f64, time));
        bytes.push((n as f64, peak));
    }
    for (what, points, wanted) in [("time", times, WANTED[0]), ("memory", bytes, WANTED[1])] {
        println!("{what:6} grows as n^{:.3} (wanted: at most {wanted})", exponent(&points));
    }
    Ok(())
}

/// The slope of the line of least squares through the logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = logs.iter().map(|point| (point.0 - x) * (point.0 - x)).sum();
    covariance / variance
}

/// The paper's network, its mixture weights free.
fn rat_spn(variables: usize, replicas: usize) -> String {
    format!(
        "(variables: Binary({variables}), \
         structure: RatSpn(units: 5, replicas: {replicas}, seed: 0), \
         leaves: Indicators, parameterizer: WeightDecay(lambda: 1e-4))"
    )
}

/// From a text to a plan, which is dropped.
fn compiled(text: &str) -> Result<(), Box<dyn Error>> {
    let source = Source { name: "grown.ron".into(), text: text.into() };
    let loaded = structure::load(&source, false)?;
    let parameterizer = structure::parameterizer(&loaded.spec, &Registry::new())?;
    let options = Options { sectors: loaded.spec.sectors.value, ..Options::default() };
    let circuit = loaded.circuit.into_circuit();
    let compiled = compile(circuit, &loaded.map, parameterizer.as_ref(), &options)?;
    let options = plan::Options {
        purpose: Purpose::Evaluate,
        schedule: Schedule::Wide,
        batch: 64,
        sharing: Sharing::WherePays,
    };
    plan(&compiled.circuit, &compiled.parameters, &options);
    Ok(())
}

/// Prints what the program takes for large circuits.
fn large() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let cases = [
        ("compile", rat_spn(1_556, 50), "RAT-SPN, 1,556 variables, 50 replicas", "1 s"),
        ("compile", Written::graph(), "graph of 100,000 nodes", "5 s"),
        ("check", rat_spn(1_000_000, 1), "RAT-SPN, 1,000,000 variables", "5 s, 2,048 MiB"),
    ];
    for (command, text, what, wanted) in cases {
        let path = folder.path().join("large.ron");
        std::fs::write(&path, text)?;
        let (seconds, resident) = whole_process(command, &path)?;
        let resident = resident.map_or("?".into(), |kib| format!("{}", kib >> 10));
        println!(
            "pcc {command:7}  {what:38} {seconds:6.2} s  {resident:>5} MiB  (wanted: under {wanted})"
        );
    }
    Ok(())
}

/// Seconds that the program takes, and KiB resident at most, where the system tells.
fn whole_process(command: &str, path: &Path) -> Result<(f64, Option<u64>), Box<dyn Error>> {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pcc"))
        .arg(command)
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut most = None;
    loop {
        most = resident(&child).or(most);
        if let Some(status) = child.try_wait()? {
            let seconds = start.elapsed().as_secs_f64();
            return match status.success() {
                true => Ok((seconds, most)),
                false => Err(format!("pcc {command} {}: {status}", path.display()).into()),
            };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// KiB that were resident at most so far.
fn resident(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A varied circuit, written out node by node: a mixture of random circuits over all variables.
struct Written {
    rng: ChaCha8Rng,
    text: String,
    /// The width of each node; its name is its number.
    units: Vec<usize>,
}

impl Written {
    fn graph() -> String {
        let text = format!("(variables: Binary({VARIABLES}), structure: Graph(nodes: {{\n");
        let mut graph = Written { rng: ChaCha8Rng::seed_from_u64(0), text, units: Vec::new() };
        let variables: Vec<usize> = (0..VARIABLES).collect();
        let mut tops = Vec::new();
        while graph.units.len() < NODES {
            tops.push(graph.region(&variables, 1));
        }
        let root = graph.sum(&tops, 1);
        graph.text + &format!("}}, root: \"n{root}\"))")
    }

    /// A sum of a few products over some variables, or a leaf over one.
    fn region(&mut self, variables: &[usize], units: usize) -> usize {
        if let [variable] = *variables {
            return self.leaf(variable, units);
        }
        let few = if variables.len() > 8 { 1 } else { self.rng.random_range(1..=3) };
        let products: Vec<usize> = (0..few).map(|_| self.product(variables)).collect();
        self.sum(&products, units)
    }

    fn leaf(&mut self, variable: usize, units: usize) -> usize {
        let given: Vec<f64> = (0..units).map(|_| self.rng.random_range(0.02..0.98)).collect();
        let frozen = self.rng.random_bool(0.3);
        self.add(
            units,
            &format!(
                "Leaf(var: \"x{variable}\", dist: Bernoulli(p: {given:?}, frozen: {frozen}), \
                 units: {units})"
            ),
        )
    }

    /// A product of two regions over about half of the variables each.
    fn product(&mut self, variables: &[usize]) -> usize {
        let mut halves = [Vec::new(), Vec::new()];
        let first = self.rng.random_range(0..2);
        for (at, &variable) in variables.iter().enumerate() {
            // The first two part, so that neither half is empty.
            let half = if at < 2 { (at + first) % 2 } else { self.rng.random_range(0..2) };
            halves[half].push(variable);
        }
        let kronecker = self.rng.random_bool(0.5);
        let [a, b] = match kronecker {
            true => [self.rng.random_range(1..=2), self.rng.random_range(1..=2)],
            false => [self.rng.random_range(1..=4); 2],
        };
        let (left, right) = (self.region(&halves[0], a), self.region(&halves[1], b));
        let (kind, units) = if kronecker { ("Kronecker", a * b) } else { ("Product", a) };
        self.add(units, &format!("{kind}([\"n{left}\", \"n{right}\"])"))
    }

    fn sum(&mut self, inputs: &[usize], units: usize) -> usize {
        let columns: usize = inputs.iter().map(|&input| self.units[input]).sum();
        let rows: Vec<Vec<f64>> = (0..units).map(|_| self.weights(columns)).collect();
        let frozen = self.rng.random_bool(0.3);
        let names: Vec<String> = inputs.iter().map(|input| format!("n{input}")).collect();
        self.add(
            units,
            &format!("Sum(inputs: {names:?}, units: {units}, weights: {rows:?}, frozen: {frozen})"),
        )
    }

    fn weights(&mut self, columns: usize) -> Vec<f64> {
        let weights: Vec<f64> = (0..columns).map(|_| self.rng.random_range(0.05..1.0)).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    fn add(&mut self, units: usize, op: &str) -> usize {
        let node = self.units.len();
        self.units.push(units);
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "\"n{node}\": {op},");
        node
    }
}
