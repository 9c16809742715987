//! What is drawn by mantissas is what logarithms draw of the same random numbers, bit by bit.

use std::sync::Arc;

use super::super::row_logs::RowLogs;
use super::draw::Draw;
use super::grow::Ground;
use super::values::Logs;
use super::*;
use crate::compile::{Options, compile};
use crate::diag::Source;
use crate::engine::Executable;
use crate::param::registry::Registry;
use crate::plan::{self, Purpose, Schedule, Sharing, plan};
use crate::structure;

/// Circuits whose draws pick many times.
const CIRCUITS: [&str; 4] = [
    "(variables: Binary(40), structure: RatSpn(units: 5, replicas: 4))",
    "(variables: Binary(30), structure: Einet(units: 4, replicas: 3), leaves: Bernoulli())",
    "(variables: Categorical(n: 30, states: 3), structure: Hmm(units: 6))",
    "(variables: Real(12), structure: RatSpn(units: 4, replicas: 4))",
];
const DRAWS: usize = 50_000;

fn engine(text: &str) -> CpuExecutable {
    let source = Source::new("test.ron", text);
    let loaded = structure::load(&source, false).unwrap();
    let maker = structure::parameterizer(&loaded.spec, &Registry::new()).unwrap();
    let circuit = loaded.circuit.into_circuit();
    let compiled = compile(circuit, &loaded.map, &*maker, &Options::default()).unwrap();
    let options = plan::Options {
        purpose: Purpose::Query,
        schedule: Schedule::Wide,
        batch: 64,
        sharing: Sharing::Off,
    };
    let plan = plan(&compiled.circuit, &compiled.parameters, &options);
    let flat = compiled.parameters.initial::<f32>(&compiled.written, 5, None);
    let compiled = Arc::new(compiled);
    let mut engine = CpuExecutable::new(compiled, plan, 2).unwrap();
    engine.load(&flat);
    engine
}

#[test]
fn what_mantissas_draw_is_what_logarithms_draw() {
    for text in CIRCUITS {
        let mut engine = engine(text);
        let source = Source::new("test.ron", text);
        let variables = structure::load(&source, false).unwrap().circuit.variables().clone();
        let nothing = Dataset::from_rows(&variables, [vec![None; variables.len()]]).unwrap();
        let (seen, _) = engine.draws(&nothing, &[0], 2, 1).unwrap();
        let given = seen.values().chunks(variables.len()).map(|row| {
            let each = row.iter().enumerate();
            each.map(|(at, &x)| (at % 3 == 0).then_some(x)).collect::<Vec<_>>()
        });
        let data = Dataset::from_rows(&variables, given).unwrap();
        let (found, tally) = engine.draws(&data, &[0, 1], DRAWS, 7).unwrap();
        assert!(tally.in_logs > 0 && tally.in_logs < DRAWS / 50, "{text}: {tally:?}");
        let ground = Ground { engine: &engine, ways: engine.ways.as_ref().unwrap(), data: &data };
        for row in 0..2 {
            let tile = engine.tile_of(&data, row);
            let RowLogs { logs, .. } = RowLogs::new(&engine, &tile);
            for (at, drawn) in found.of(row as usize).chunks(variables.len()).enumerate() {
                let mut expected = vec![0.0; variables.len()];
                data.row(row as usize, &mut expected);
                let pick = Draw::exactly(7, (row as usize * DRAWS + at) as u64);
                ground.draw(|number| Logs(&logs[number]), pick, &mut expected);
                assert_eq!(drawn, expected, "{text}, row {row}, draw {at}");
            }
        }
    }
}
