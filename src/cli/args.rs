//! The command line: verbs, flags and their help. What a flag means is said here and nowhere else.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::names::{Assignments, Names, assignments, names};
use super::size::ByteSize;
use crate::data::image::Shape;

/// Compiles, trains and queries probabilistic circuits.
#[derive(Debug, Parser)]
#[command(
    name = "pcc",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 the input is wrong, 2 usage, 3 the machine lacks something, \
                  4 training met a number that is not finite, 130 interrupted.\n\
                  First steps: pcc reproduce toy"
)]
pub struct Cli {
    /// Print one JSON object on standard output, and nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check a circuit: every fault, its properties, its size, and which queries are exact.
    Check(Check),
    /// Compile a circuit and show any stage on the way.
    Compile(Compile),
    /// Learn a circuit's parameters from data.
    Train(Train),
    /// Evaluate the log-likelihood of data.
    Eval(Eval),
    /// Answer a query for each row of data.
    Query(Query),
    /// Draw rows from a model, given evidence or not.
    Sample(Sample),
    /// Show what a model or a circuit holds: sizes, tensors, and memory by the plan.
    Inspect(Inspect),
    /// Run the experiments of the paper, and show its numbers beside ours.
    Reproduce(Reproduce),
    /// Measure training and evaluation on this machine.
    Bench(Bench),
}

/// How to run, wherever something runs.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How to run")]
pub struct Run {
    /// The engine.
    #[arg(long, value_enum, default_value_t = EngineName::Cpu)]
    pub engine: EngineName,
    /// Precision of the CUDA engine's wide sums, on tensor cores: as single precision has it, or faster and less exact.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = PrecisionName::F32)]
    pub precision: PrecisionName,
    /// Threads of the CPU engine [default: as many as the machine has]. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Memory that values and weights may take while running, such as 64MiB; what does not fit is made
    /// again when it is needed. The circuit, its parameters and the data are not counted. With the CUDA engine: all
    /// that is kept on the device but the data.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<ByteSize>,
    /// Evaluate every row in full, even where rows agree.
    #[arg(long)]
    pub no_sharing: bool,
    /// Run the circuit as it is written.
    #[arg(long)]
    pub no_rewrite: bool,
}

/// The engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// Vectorised, on this machine's processor.
    Cpu,
    /// Fused kernels on an NVIDIA GPU.
    Cuda,
}

/// The precisions of wide sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// Single precision.
    F32,
    /// Operands of eleven bits.
    Tf32,
    /// Operands of eight bits.
    Bf16,
}

/// The arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The circuit.
    #[arg(value_name = "CIRCUIT.ron")]
    pub circuit: PathBuf,
    /// Mend sums whose inputs differ in scope, by multiplying the missing variables in.
    #[arg(long)]
    pub smooth: bool,
    /// Rows that a structure is learned from, such as a hidden Chow–Liu tree.
    #[arg(long, value_name = "F")]
    pub data: Option<PathBuf>,
}

/// The arguments of `compile`.
#[derive(Debug, Args)]
pub struct Compile {
    /// The circuit.
    #[arg(value_name = "CIRCUIT.ron")]
    pub circuit: PathBuf,
    /// Write the plan to this file.
    #[arg(short, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// The machine to compile for: cpu, cuda, or a CUDA architecture such as cuda:sm_90.
    #[arg(long, value_name = "TARGET", default_value = "cpu", value_parser = target)]
    pub target: String,
    /// Rows that are evaluated together.
    #[arg(long, value_name = "N", default_value = "500")]
    pub batch: NonZeroU32,
    /// The order of the plan: level by level, or the least memory.
    #[arg(long, value_enum, default_value_t = ScheduleName::Wide)]
    pub schedule: ScheduleName,
    /// Print a stage on standard output.
    #[arg(long, value_enum, value_name = "STAGE", requires_if("sharing", "data"))]
    pub emit: Option<Emit>,
    /// Variables to sum out, such as x3,x5.
    #[arg(long, value_name = "VARS", value_parser = names)]
    pub marginalize: Vec<Names>,
    /// Values of variables, such as x1=0,x2=1.
    #[arg(long, value_name = "VAR=VALUE", value_parser = assignments)]
    pub evidence: Vec<Assignments>,
    /// Training data, for structures that are learned from it, and to show what is shared of it.
    #[arg(long, value_name = "TRAIN")]
    pub data: Option<PathBuf>,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// The schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleName {
    /// Level by level.
    Wide,
    /// Depth first; a value is freed as soon as it has been used.
    Deep,
}

/// The stages that `compile` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// The circuit as it is run, a node a line.
    Circuit,
    /// The circuit before and after rewriting, the rules that fired, and both costs.
    Rewrites,
    /// The blocks of weights that the parameterizer makes.
    Sectors,
    /// What is run, in order, with every size.
    Plan,
    /// How much the rows of `--data` agree on the scopes of the circuit's regions, as a figure.
    Sharing,
    /// The source of the CUDA kernels.
    Cuda,
    /// The kernels in NVIDIA's intermediate language.
    Ptx,
    /// The circuit as a graph for Graphviz.
    Dot,
    /// The circuit as a drawing.
    Svg,
    /// The circuit as written, spelled out in RON.
    Ron,
    /// The circuit as written, as a PSDD.
    Psdd,
    /// The vtree of that PSDD.
    Vtree,
}

/// The arguments of `train`.
#[derive(Debug, Args)]
pub struct Train {
    /// The circuit.
    #[arg(value_name = "CIRCUIT.ron")]
    pub circuit: PathBuf,
    /// Rows to learn from: comma-separated values or a NumPy array.
    #[arg(long, value_name = "F")]
    pub train: PathBuf,
    /// Rows to select the best checkpoint by.
    #[arg(long, value_name = "F")]
    pub valid: Option<PathBuf>,
    /// Rows to report on.
    #[arg(long, value_name = "F")]
    pub test: Option<PathBuf>,
    /// The model file to write.
    #[arg(short, value_name = "MODEL")]
    pub output: PathBuf,
    /// Updates of the parameters.
    #[arg(long, value_name = "N", default_value_t = 4_000, conflicts_with = "epochs")]
    pub steps: u64,
    /// Passes over the training rows, in place of steps.
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Rows of a step, drawn without replacement; all rows if there are fewer.
    #[arg(long, value_name = "N", default_value = "500")]
    pub batch: NonZeroU32,
    /// Learning rate [default: 5e-3 for Hyper, else 2e-2; EM: 1 where a step takes all rows, else 0.5
    /// at first, falling to 0].
    #[arg(long, value_name = "X", value_parser = positive)]
    pub lr: Option<f64>,
    /// The optimiser.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = OptimizerName::Adam)]
    pub optimizer: OptimizerName,
    /// Pseudo-count that EM adds to each distribution, shared by its outcomes [default: 0.1].
    #[arg(long, value_name = "X", value_parser = at_least_zero)]
    pub pseudo_count: Option<f64>,
    /// Steps between evaluations; each is a candidate for the model that is kept.
    #[arg(long, value_name = "N", default_value = "200")]
    pub eval_every: NonZeroU32,
    /// Stop after this many evaluations without a better one on the validation rows.
    #[arg(long, value_name = "N", requires = "valid")]
    pub patience: Option<NonZeroU32>,
    /// Seed of the initial parameters and of the batches.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Write a line of JSON for each evaluation to this file.
    #[arg(long, value_name = "F")]
    pub log: Option<PathBuf>,
    /// Draw the learning curves into this SVG file.
    #[arg(long, value_name = "F.svg")]
    pub plot: Option<PathBuf>,
    /// Go on from the checkpoint beside MODEL, bit for bit as if never stopped.
    #[arg(long)]
    pub resume: bool,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// The optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OptimizerName {
    /// Adam, with L2 added to the gradient.
    Adam,
    /// Adam, with the decay outside of the moments.
    Adamw,
    /// Gradient descent.
    Sgd,
    /// Expectation-maximisation, of circuits whose every weight is a parameter.
    Em,
}

/// The arguments of `eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// A model, or a circuit in which all parameters are given.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The rows.
    #[arg(long, value_name = "F")]
    pub data: PathBuf,
    /// Write the log-likelihood of each row to this file, a line each (`-`: standard output).
    #[arg(long, value_name = "F")]
    pub per_row: Option<PathBuf>,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// The arguments of `query`.
#[derive(Debug, Args)]
pub struct Query {
    /// A model, or a circuit in which all parameters are given.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// What is asked of each row.
    #[arg(value_enum, value_name = "QUERY")]
    pub ask: Ask,
    /// Rows of evidence, a missing value being open [default: one row of which nothing is known].
    #[arg(long, value_name = "F")]
    pub data: Option<PathBuf>,
    /// The variables asked about, such as x3,x5 [default: all]; a name with a comma in it stands in quotation
    /// marks, as in a line of names.
    #[arg(long, value_name = "VARS", value_parser = names)]
    pub of: Vec<Names>,
    /// The other side of a mutual information.
    #[arg(long, value_name = "VARS", value_parser = names)]
    pub with: Vec<Names>,
    /// The second circuit of expected-ll and kl.
    #[arg(long, value_name = "MODEL")]
    pub other: Option<PathBuf>,
    /// Write the answers to this file as comma-separated values, under a line of names (`-`: standard
    /// output).
    #[arg(short, value_name = "F", default_value = "-")]
    pub output: PathBuf,
    /// How to run. Log-likelihoods are the engine's, and conditionals the CPU engine's where `--memory` does not
    /// limit it; all else is computed in double precision.
    #[command(flatten)]
    pub run: Run,
}

/// The queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ask {
    /// ln p of the row, what is missing in it summed out.
    Loglik,
    /// Each variable's distribution given the row; with `--of`, ln p of these given the rest of it.
    Conditional,
    /// The most probable completion of the row, or a likely one as a lower bound.
    Map,
    /// Means, variances and covariances given the row.
    Moments,
    /// The entropy of what is missing in the row, or of `--of`.
    Entropy,
    /// The mutual information of `--of` and `--with`, given the row.
    MutualInformation,
    /// The mean of ln q over p, both given the row; q is `--other`.
    ExpectedLl,
    /// The divergence KL(p ‖ q), both given the row; q is `--other`.
    Kl,
}

/// The arguments of `sample`.
#[derive(Debug, Args)]
pub struct Sample {
    /// A model, or a circuit in which all parameters are given.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Rows to draw; with `--given`, for each of its rows.
    #[arg(short, value_name = "N")]
    pub n: NonZeroU32,
    /// Rows of evidence: what is missing in them is drawn.
    #[arg(long, value_name = "F")]
    pub given: Option<PathBuf>,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Draw the rows as images of this shape, such as 28x28 or in colour 32x32x3: a grid of them, in
    /// a PNG file.
    #[arg(long, value_name = "HxW[x3]", value_parser = shape)]
    pub image: Option<Shape>,
    /// Values of real variables that are black and white in an image.
    #[arg(long, value_name = "LOW,HIGH", default_value = "0,1", requires = "image", value_parser = bounds)]
    pub range: (f64, f64),
    /// A row to add to each before it is drawn, such as a mean that was taken off the data.
    #[arg(long, value_name = "F", requires = "image")]
    pub offset: Option<PathBuf>,
    /// The file to write: comma-separated values (`-`: standard output), or the PNG of `--image`.
    #[arg(short, value_name = "F")]
    pub output: PathBuf,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// The arguments of `inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A model or a circuit.
    #[arg(value_name = "MODEL | CIRCUIT.ron")]
    pub path: PathBuf,
    /// Rows that are evaluated together.
    #[arg(long, value_name = "N", default_value = "500")]
    pub batch: NonZeroU32,
}

/// The arguments of `reproduce`.
#[derive(Debug, Args)]
pub struct Reproduce {
    /// The experiment.
    #[arg(value_enum)]
    pub target: Experiment,
    /// The folder of the benchmark data sets.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Only these data sets.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Far fewer steps: to see that it works, not how well.
    #[arg(long)]
    pub quick: bool,
    /// The folder for curves and models [default: the experiment's name].
    #[arg(short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// The experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// The hand-made data set of 256 binary variables. Needs no data.
    Toy,
    /// Twenty data sets.
    Table1,
    /// Amazon baby registries.
    Table2,
    /// Parameters against likelihood.
    Figure5,
    /// Quality of samples.
    Samples,
    /// House numbers.
    Figure6,
    /// All of them.
    All,
}

/// The arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// The circuit.
    #[arg(value_name = "CIRCUIT.ron")]
    pub circuit: PathBuf,
    /// Rows to draw batches from [default: random rows].
    #[arg(long, value_name = "F")]
    pub data: Option<PathBuf>,
    /// Rows of a step.
    #[arg(long, value_name = "N", default_value = "500")]
    pub batch: NonZeroU32,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

/// `cpu`, `cuda` or `cuda:sm_NN`.
fn target(text: &str) -> Result<String, String> {
    let architecture = |name: &str| {
        let digits = name.strip_prefix("sm_");
        digits.is_some_and(|digits| digits.len() > 1 && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let known = matches!(text, "cpu" | "cuda");
    if known || text.strip_prefix("cuda:").is_some_and(architecture) {
        Ok(text.to_string())
    } else {
        Err("expected cpu, cuda or cuda:sm_90".to_string())
    }
}

/// `HEIGHTxWIDTH` or `HEIGHTxWIDTHxCHANNELS`.
fn shape(text: &str) -> Result<Shape, String> {
    let numbers: Option<Vec<usize>> =
        text.split('x').map(|part| part.parse().ok().filter(|&number| number > 0)).collect();
    match numbers.as_deref() {
        Some(&[height, width]) => Ok(Shape { height, width, channels: 1 }),
        Some(&[height, width, channels @ (1 | 3)]) => Ok(Shape { height, width, channels }),
        _ => Err("expected HEIGHTxWIDTH such as 28x28, or HEIGHTxWIDTHx3 in colour".to_string()),
    }
}

/// `LOW,HIGH`, the first being less.
fn bounds(text: &str) -> Result<(f64, f64), String> {
    let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    match text.split_once(',').map(|(low, high)| (number(low), number(high))) {
        Some((Some(low), Some(high))) if low < high => Ok((low, high)),
        _ => Err("expected LOW,HIGH such as 0,1, the first being less".to_string()),
    }
}

/// A finite number above zero.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number above zero".to_string()),
    }
}

/// A finite number that is at least zero.
fn at_least_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number that is at least zero".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn targets_are_taken_apart() {
        assert_eq!(target("cuda:sm_90"), Ok("cuda:sm_90".to_string()));
        assert!(target("gpu").is_err() && target("cuda:90").is_err());
    }

    #[test]
    fn shapes_and_bounds_are_taken_apart() {
        assert_eq!(shape("28x30"), Ok(Shape { height: 28, width: 30, channels: 1 }));
        assert_eq!(shape("32x32x3"), Ok(Shape { height: 32, width: 32, channels: 3 }));
        for wrong in ["28", "0x3", "4x4x2", "4x4x3x1", "4×4", "-1x2"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bounds("-0.5, 2"), Ok((-0.5, 2.0)));
        assert!(bounds("1,1").is_err() && bounds("0,inf").is_err() && bounds("0").is_err());
    }
}
