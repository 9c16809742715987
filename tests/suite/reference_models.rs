//! The engines against the authors' own model.
//!
//! The folder that `PCC_REFERENCE_DIR` names holds small models as JSON, made by running the published
//! code of Shih et al. 2021 in float64: rows, parameters, the log-likelihood of each row, and the
//! gradient of their mean by each parameter. In a model's arrays replicas come first, then sectors,
//! numbered level by level from the root's; see [`rat_spn`] for the structure they stand for.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pcc::circuit::{Circuit, SourceMap, WeightSource};
use pcc::compile::{Compiled, Options, compile};
use pcc::data::Dataset;
use pcc::engine::Executable;
use pcc::engine::cpu::{CpuExecutable, Evaluated};
use pcc::ids::{NodeId, VarId};
use pcc::leaf::Dist;
use pcc::param::Parameterizer;
use pcc::param::direct::Direct;
use pcc::param::hyper::Hyper;
use pcc::plan::{self, Purpose, Schedule, Sharing, plan};
use pcc::variables::Variables;

use crate::agreement::{Expected, by_cpu, by_reference};
use crate::support::random_circuits::pairs;

/// The variable of the environment that names the folder.
const DIR: &str = "PCC_REFERENCE_DIR";

/// log p of each row, and the gradient of their sum by the flat parameters.
type Outcome = (Vec<f64>, Vec<f64>);

/// What is compared with the models.
struct Engine {
    name: &'static str,
    run: fn(&Arc<Compiled>, &[f64], &Dataset) -> Outcome,
    /// |Δ log p| at most, times max(1, |log p|); and |Δ gradient|, times the tensor's largest entry.
    tolerance: f64,
}

const ENGINES: [Engine; 5] = [
    Engine {
        name: "reference",
        run: |compiled, flat, data| {
            let Expected { log_p, gradient, .. } = by_reference(compiled, flat, data);
            (log_p, gradient)
        },
        tolerance: 1e-9,
    },
    Engine {
        name: "cpu, wide",
        run: |c, flat, data| run_cpu(c, flat, data, Schedule::Wide),
        tolerance: 1e-5,
    },
    Engine {
        name: "cpu, deep",
        run: |c, flat, data| run_cpu(c, flat, data, Schedule::Deep),
        tolerance: 1e-5,
    },
    Engine {
        name: "cpu, shared",
        run: |c, flat, data| run_shared(c, flat, data, false),
        tolerance: 1e-5,
    },
    Engine {
        name: "cpu, shared and interned",
        run: |c, flat, data| run_shared(c, flat, data, true),
        tolerance: 1e-5,
    },
];

fn run_cpu(compiled: &Arc<Compiled>, flat: &[f64], data: &Dataset, schedule: Schedule) -> Outcome {
    let flat: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
    let (log_p, gradient, _) = by_cpu("a reference model", compiled, &flat, data, schedule, 2);
    (log_p, gradient.into_iter().map(f64::from).collect())
}

/// Each distinct sub-assignment once, wherever that can be, whatever it costs.
fn run_shared(compiled: &Arc<Compiled>, flat: &[f64], data: &Dataset, prepare: bool) -> Outcome {
    let options = plan::Options {
        purpose: Purpose::Train,
        schedule: Schedule::Wide,
        batch: data.rows() as u32,
        sharing: Sharing::Wherever,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    let flat: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
    let mut engine = CpuExecutable::new(compiled.clone(), plan, 2).unwrap();
    if prepare {
        engine.prepare(data);
    }
    let rows: Vec<u32> = (0..data.rows() as u32).collect();
    let (mut log_p, mut gradient) = (vec![f64::NAN; rows.len()], vec![f32::NAN; flat.len()]);
    engine.gradient(&flat, data, &rows, &mut log_p, &mut gradient);
    let Evaluated { table, listed, each, dense } = engine.evaluated();
    let shared = table > 0 && dense == 0 && if prepare { each == 0 } else { listed == 0 };
    assert!(shared, "{:?}", engine.evaluated());
    (log_p, gradient.into_iter().map(f64::from).collect())
}

#[test]
fn reference_models() {
    let mut stderr = std::io::stderr();
    let Some(dir) = std::env::var_os(DIR) else {
        writeln!(stderr, "SKIPPED reference models: {DIR} is not set").unwrap();
        return;
    };
    let paths = json_files(Path::new(&dir));
    assert!(!paths.is_empty(), "{DIR} holds no models");
    for path in &paths {
        let fixture = Fixture::read(path);
        check(&fixture, &*parameterizer(&fixture));
    }
    writeln!(stderr, "reference models: {0} of {0}", paths.len()).unwrap();
}

fn json_files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

/// A numeric array, row-major.
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    fn index(&self, at: &[usize]) -> usize {
        at.iter().zip(&self.shape).fold(0, |index, (at, len)| index * len + at)
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.shape[1]..][..self.shape[1]]
    }
}

/// The arrays of one model, by name.
struct Fixture {
    name: String,
    arrays: BTreeMap<String, Array>,
}

impl Fixture {
    fn read(path: &Path) -> Fixture {
        let text = std::fs::read_to_string(path).unwrap();
        let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let arrays = json.into_iter().filter(|(_, value)| value.get("data").is_some());
        let arrays = arrays.map(|(name, value)| {
            let shape = numbers(&value["shape"]).into_iter().map(|len| len as usize).collect();
            (name, Array { shape, data: numbers(&value["data"]) })
        });
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Fixture { name, arrays: arrays.collect() }
    }

    fn array(&self, name: &str) -> &Array {
        self.arrays.get(name).unwrap_or_else(|| panic!("{}: no array {name}", self.name))
    }

    /// Names of the parameters, each of which has a gradient.
    fn parameters(&self) -> Vec<&str> {
        self.arrays.keys().filter_map(|name| name.strip_prefix("param.")).collect()
    }

    fn rows(&self, variables: &Variables) -> Dataset {
        let x = self.array("x");
        let row = |row| x.row(row).iter().map(|&value| Some(value as f32)).collect::<Vec<_>>();
        Dataset::from_rows(variables, (0..x.shape[0]).map(row)).unwrap()
    }
}

/// The parameterizer that a model uses: direct logits, or a network over embeddings.
fn parameterizer(fixture: &Fixture) -> Box<dyn Parameterizer> {
    if fixture.arrays.contains_key("param.edges") {
        return Box::new(Direct);
    }
    let biases = fixture.parameters().into_iter().filter(|name| name.ends_with(".bias"));
    let mut widths: Vec<usize> =
        biases.map(|name| fixture.array(&format!("param.{name}")).data.len()).collect();
    // The last layer's width is that of the output.
    widths.pop();
    Box::new(Hyper { embedding: fixture.array("param.layer_embedding").shape[2], hidden: widths })
}

/// A sector of the authors' arrays.
struct Placed {
    replica: usize,
    number: usize,
    rows: usize,
    cols: usize,
}

/// The RAT-SPN of a model, and its sectors in the order in which this crate numbers them.
struct RatSpn {
    circuit: Circuit,
    sectors: Vec<Placed>,
}

/// In every replica: indicators of the variables in the order of `leaf_perms`, a k × 2 sum over
/// each, then level by level a product of neighbours under a k × k sum, the last product of an odd
/// level joining three; 1 × k at the replica's root; a mixture of the replicas.
fn rat_spn(fixture: &Fixture) -> RatSpn {
    let orders = fixture.array("leaf_perms");
    let (replicas, variables) = (orders.shape[0], orders.shape[1]);
    let some_logits = fixture.arrays.get("param.edges").or(fixture.arrays.get("edges_generated"));
    let units = some_logits.unwrap().shape[2] as u32;
    let starts = level_starts(&fixture.array("layer_widths").data);
    let mut circuit = Circuit::new(Variables::binary(variables));
    let indicators = circuit.add_dist(Dist::indicators(2));
    let mut sectors = Vec::new();
    let mut roots = Vec::new();
    for replica in 0..replicas {
        let mut depth = starts.len() - 1;
        let mut sum = |circuit: &mut Circuit, depth: usize, at: usize, input: NodeId| {
            let rows = if depth == 0 { 1 } else { units };
            let (number, cols) = (starts[depth] + at, circuit.units(input) as usize);
            sectors.push(Placed { replica, number, rows: rows as usize, cols });
            circuit.sum(rows, &[input], WeightSource::Parameterizer)
        };
        let mut level: Vec<NodeId> = Vec::new();
        for (at, &variable) in orders.row(replica).iter().enumerate() {
            let leaf = circuit.leaf(VarId(variable as u32), indicators);
            level.push(sum(&mut circuit, depth, at, leaf));
        }
        while level.len() > 1 {
            depth -= 1;
            let above = pairs(&level).enumerate().map(|(at, inputs)| {
                let product = circuit.product(inputs);
                sum(&mut circuit, depth, at, product)
            });
            level = above.collect();
        }
        roots.extend(level);
    }
    let root = circuit.mixing(&roots, WeightSource::Direct);
    circuit.set_root(root);
    RatSpn { circuit, sectors }
}

/// The number of the first sector of each level, the root's level first. Widths begin with one that
/// stands for the unused sector 0.
fn level_starts(widths: &[f64]) -> Vec<usize> {
    let mut start = 0;
    widths[..widths.len() - 1]
        .iter()
        .map(|&width| {
            start += width as usize;
            start
        })
        .collect()
}

/// Where each entry of one of this crate's tensors lies in the authors' arrays: a parameter's name
/// and an index into it.
fn places(tensor: &str, model: &RatSpn, fixture: &Fixture) -> Vec<(String, usize)> {
    let all = |name: String| {
        let len = fixture.array(&format!("param.{name}")).data.len();
        (0..len).map(|at| (name.clone(), at)).collect()
    };
    match tensor.split('.').collect::<Vec<_>>()[..] {
        ["direct"] => all("mix".into()),
        ["logits"] => {
            let edges = fixture.array("param.edges");
            let of_sector = |sector: &Placed| -> Vec<(String, usize)> {
                let entries = (0..sector.rows * sector.cols).map(|at| {
                    let (row, col) = (at / sector.cols, at % sector.cols);
                    edges.index(&[sector.replica, sector.number, row, col])
                });
                entries.map(|index| ("edges".into(), index)).collect()
            };
            model.sectors.iter().flat_map(of_sector).collect()
        }
        ["embedding"] => {
            let embedding = fixture.array("param.layer_embedding");
            let of_sector = |sector: &Placed| {
                let start = embedding.index(&[sector.replica, sector.number, 0]);
                start..start + embedding.shape[2]
            };
            let indices = model.sectors.iter().flat_map(of_sector);
            indices.map(|index| ("layer_embedding".into(), index)).collect()
        }
        // Between two layers of the authors' network stands its activation.
        ["network", layer, part] => {
            all(format!("net.{}.{part}", 2 * layer.parse::<usize>().unwrap()))
        }
        _ => panic!("{}: no counterpart of tensor {tensor}", fixture.name),
    }
}

fn check(fixture: &Fixture, parameterizer: &dyn Parameterizer) {
    let model = rat_spn(fixture);
    let circuit = model.circuit.clone();
    let compiled = compile(circuit, &SourceMap::default(), parameterizer, &Options::default());
    let compiled =
        Arc::new(compiled.unwrap_or_else(|faults| panic!("{}: {faults:?}", fixture.name)));
    let tensors = compiled.parameters.tensors();
    let mut place_of = Vec::new();
    for (id, spec) in tensors.iter() {
        let places = places(&spec.name, &model, fixture);
        assert_eq!(places.len(), tensors.range(id).len(), "size of {}", spec.name);
        place_of.extend(places);
    }
    let value = |(name, at): &(String, usize)| fixture.array(&format!("param.{name}")).data[*at];
    let flat: Vec<f64> = place_of.iter().map(value).collect();
    let data = fixture.rows(compiled.circuit.variables());
    for engine in &ENGINES {
        let context = format!("{}, {} engine", fixture.name, engine.name);
        let (log_likelihoods, mut gradient) = (engine.run)(&compiled, &flat, &data);
        let expected = &fixture.array("ll_exact").data;
        assert_eq!(log_likelihoods.len(), expected.len(), "{context}");
        for (row, (&log_p, &expected)) in log_likelihoods.iter().zip(expected).enumerate() {
            let most = engine.tolerance * expected.abs().max(1.0);
            assert!((log_p - expected).abs() <= most, "{context}: row {row}: {log_p}, {expected}");
        }
        // The authors' gradients are those of the mean.
        gradient.iter_mut().for_each(|d| *d /= expected.len() as f64);
        check_gradient(fixture, &place_of, &gradient, engine.tolerance, &context);
    }
}

/// Compares each of the authors' gradients as a whole: it is zero where a parameter is not used.
fn check_gradient(
    fixture: &Fixture,
    place_of: &[(String, usize)],
    gradient: &[f64],
    tolerance: f64,
    context: &str,
) {
    for name in fixture.parameters() {
        let expected = &fixture.array(&format!("grad_exact.{name}")).data;
        let mut ours = vec![0.0; expected.len()];
        let entries = place_of.iter().zip(gradient).filter(|((of, _), _)| of == name);
        entries.for_each(|((_, at), &d)| ours[*at] = d);
        let largest = expected.iter().fold(0.0f64, |most, d| most.max(d.abs()));
        assert!(largest > 0.0, "{context}: the gradient of {name} is zero throughout");
        for (at, (&ours, &expected)) in ours.iter().zip(expected).enumerate() {
            let ok = (ours - expected).abs() <= tolerance * largest;
            assert!(ok, "{context}: gradient of {name}, entry {at}: {ours}, {expected}");
        }
    }
}
