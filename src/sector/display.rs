//! The text of the sectors, as `pcc compile --emit sectors` prints it: what is learned, the classes of
//! equal sectors, then a sector a line.

use std::collections::BTreeMap;
use std::fmt;

use super::{Maker, Parameters, Sector, SectorKind};
use crate::param::Shape;

/// Sectors printed at most; a larger table says how many it leaves out.
const MOST: usize = 400;

impl fmt::Display for SectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectorKind::PerLayer => f.write_str("per-layer"),
            SectorKind::Slices(length) => write!(f, "slices({length})"),
        }
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Maker::Parameterizer => "parameterizer",
            Maker::Direct => "direct",
            Maker::Frozen => "frozen",
        })
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sectors = self.table().sectors();
        let weights: usize = sectors.values().map(|sector| sector.shape.len()).sum();
        writeln!(
            f,
            "sectors count={} cut={} weights={weights} learnable={}",
            sectors.len(),
            self.table().kind,
            self.learnable()
        )?;
        for (_, tensor) in self.tensors().iter() {
            writeln!(f, "tensor {} {:?}", tensor.name, tensor.shape)?;
        }
        let mut classes: BTreeMap<(Maker, Shape), usize> = BTreeMap::new();
        for sector in sectors.values() {
            *classes.entry((sector.maker, sector.shape)).or_default() += 1;
        }
        for ((maker, shape), count) in classes {
            writeln!(f, "class {maker} {shape} sectors={count}")?;
        }
        for (id, sector) in sectors.iter().take(MOST) {
            write!(f, "{id} ")?;
            write_sector(f, sector)?;
        }
        if sectors.len() > MOST {
            writeln!(f, "… {} more sectors", sectors.len() - MOST)?;
        }
        Ok(())
    }
}

fn write_sector(f: &mut fmt::Formatter<'_>, sector: &Sector) -> fmt::Result {
    let Sector { weights, first, shape, span, maker, ordinal } = sector;
    write!(f, "{weights}[{first}..{}] {shape} {maker} {ordinal}", first + shape.len())?;
    match span {
        1 => writeln!(f),
        span => writeln!(f, " group={span}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::circuit::{Circuit, SourceMap, WeightSource};
    use crate::compile::{Options, compile};
    use crate::ids::{Id, VarId};
    use crate::leaf::Dist;
    use crate::param::direct::Direct;
    use crate::sector::SectorKind;
    use crate::variables::Variables;

    /// The sectors of a product of two layers over indicators, mixed.
    fn text(kind: SectorKind) -> String {
        let mut circuit = Circuit::new(Variables::binary(2));
        let layer = |circuit: &mut Circuit, var| {
            let dist = circuit.add_dist(Dist::indicators(2));
            let leaf = circuit.leaf(VarId::from_index(var), dist);
            circuit.sum(2, &[leaf], WeightSource::Parameterizer)
        };
        let layers = [layer(&mut circuit, 0), layer(&mut circuit, 1)];
        let product = circuit.product(&layers);
        let root = circuit.sum(1, &[product], WeightSource::Direct);
        circuit.set_root(root);
        let options = Options { sectors: kind, ..Options::default() };
        match compile(circuit, &SourceMap::default(), &Direct, &options) {
            Ok(compiled) => compiled.parameters.to_string(),
            Err(faults) => faults.to_string(),
        }
    }

    #[test]
    fn sectors_are_printed_with_their_classes_and_tensors() {
        insta::assert_snapshot!(text(SectorKind::PerLayer), @"
        sectors count=3 cut=per-layer weights=10 learnable=10
        tensor logits [8]
        tensor direct [2]
        class parameterizer 2×2 sectors=2
        class direct 1×2 sectors=1
        s0 w0[0..4] 2×2 parameterizer 0
        s1 w1[0..4] 2×2 parameterizer 1
        s2 w2[0..2] 1×2 direct 0
        ");
    }

    #[test]
    fn slices_of_a_row_show_their_group() {
        insta::assert_snapshot!(text(SectorKind::Slices(1)), @"
        sectors count=9 cut=slices(1) weights=10 learnable=10
        tensor logits [8]
        tensor direct [2]
        class parameterizer 1×1 sectors=8
        class direct 1×2 sectors=1
        s0 w0[0..1] 1×1 parameterizer 0 group=2
        s1 w0[1..2] 1×1 parameterizer 1 group=2
        s2 w0[2..3] 1×1 parameterizer 2 group=2
        s3 w0[3..4] 1×1 parameterizer 3 group=2
        s4 w1[0..1] 1×1 parameterizer 4 group=2
        s5 w1[1..2] 1×1 parameterizer 5 group=2
        s6 w1[2..3] 1×1 parameterizer 6 group=2
        s7 w1[3..4] 1×1 parameterizer 7 group=2
        s8 w2[0..2] 1×2 direct 0
        ");
    }
}
