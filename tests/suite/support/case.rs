//! Random circuits with parameters for them, over parameterizers and kinds of sectors.

use pcc::circuit::{Circuit, Op, SourceMap, ValidCircuit, Values, validate};
use pcc::ids::Id;
use pcc::leaf::gaussian::standard_normal;
use pcc::param::Parameterizer;
use pcc::param::direct::{Direct, WeightDecay};
use pcc::param::hyper::Hyper;
use pcc::sector::{Parameters, SectorKind, bind, partition};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::random_circuits::{Kinds, circuit};

/// A circuit with parameters for it.
pub struct Case {
    /// What it is, for messages.
    pub name: String,
    /// The circuit.
    pub circuit: ValidCircuit,
    /// How parameters become its numbers.
    pub parameters: Parameters,
    /// The parameters.
    pub flat: Vec<f64>,
}

impl Case {
    /// Binds a circuit to a parameterizer and draws parameters: as they begin, then spread out, so
    /// that weights are far from uniform. Slices that do not divide every layer become single entries.
    ///
    /// # Panics
    /// When the circuit is not valid or the parameterizer refuses it.
    pub fn new(
        circuit: Circuit,
        parameterizer: &dyn Parameterizer,
        kind: SectorKind,
        seed: u64,
    ) -> Case {
        let map = SourceMap::default();
        let (circuit, _) = validate(circuit, &map)
            .unwrap_or_else(|faults| panic!("seed {seed} made an invalid circuit: {faults:?}"));
        let table = partition(&circuit, &map, kind)
            .or_else(|_| partition(&circuit, &map, SectorKind::Slices(1)))
            .unwrap_or_else(|faults| panic!("seed {seed}: {faults:?}"));
        let name = format!("seed {seed}, {}, {:?}", parameterizer.name(), table.kind);
        let parameters = bind(&circuit, table, parameterizer)
            .unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        let flat = spread(&circuit, &parameters, seed);
        Case { name, circuit, parameters, flat }
    }

    /// The circuit's numbers.
    pub fn values(&self) -> Values<f64> {
        self.parameters.values(&self.circuit, &self.flat)
    }
}

/// Parameters as they begin, then spread out, so that weights are far from uniform.
pub fn spread(circuit: &ValidCircuit, parameters: &Parameters, seed: u64) -> Vec<f64> {
    let mut flat: Vec<f64> = parameters.initial(circuit, seed, None);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (id, spec) in parameters.tensors().iter() {
        // Leaves keep within a few standard deviations of zero; a network multiplies its layers, and
        // soon makes logits that no f32 gradient survives.
        let spread = match spec.group() {
            "leaf" => 0.3,
            "network" | "embedding" => 0.5,
            _ => 1.5,
        };
        for value in &mut flat[parameters.tensors().range(id)] {
            *value += spread * standard_normal(&mut rng);
        }
    }
    flat
}

/// The parameterizers that every property is tested with.
pub fn parameterizers() -> Vec<Box<dyn Parameterizer>> {
    vec![
        Box::new(Direct),
        Box::new(WeightDecay { lambda: 1e-4 }),
        Box::new(Hyper { embedding: 3, hidden: vec![6, 4] }),
    ]
}

/// Cases of `count` random circuits, going through parameterizers and kinds of sectors.
pub fn cases(
    seeds: std::ops::Range<u64>,
    kinds: Kinds,
    parameterizers: &[Box<dyn Parameterizer>],
) -> impl Iterator<Item = Case> {
    const SECTORS: [SectorKind; 3] =
        [SectorKind::PerLayer, SectorKind::Slices(2), SectorKind::Slices(1)];
    seeds.map(move |seed| {
        let at = seed as usize;
        let parameterizer = &*parameterizers[at % parameterizers.len()];
        let kind = SECTORS[at / parameterizers.len() % SECTORS.len()];
        Case::new(circuit(seed, kinds), parameterizer, kind, seed)
    })
}

/// The circuit with a row built in: leaves of observed variables are given their values, those of
/// missing ones are one.
///
/// # Panics
/// When the circuit that this makes is not valid.
pub fn specialise(circuit: &ValidCircuit, row: &[Option<f32>]) -> ValidCircuit {
    let mut circuit = Circuit::clone(circuit);
    for node in circuit.nodes() {
        if let Op::Leaf { var, dist } = circuit.op(node) {
            let op = row[var.index()].map_or(Op::One, |value| Op::Given { dist, value });
            circuit.set_op(node, op);
        }
    }
    validate(circuit, &SourceMap::default()).unwrap_or_else(|faults| panic!("{faults:?}")).0
}
