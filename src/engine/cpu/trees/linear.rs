//! Forward passes by mantissas.

use pulp::{Simd, WithSimd};

use super::super::forward::{Imports, NoImports, Unit, forward};
use super::super::outputs::{At, Handed, Imported};
use super::super::passes::root_lane;
use super::super::tile::{Arenas, Scratch, Workspace};
use super::super::ways::Numbered;
use super::grow::{Passes, Root};
use super::values::Mantissas;

/// What the passes of a task work in.
pub(super) struct Linear<'a> {
    pub(super) workspace: &'a mut Workspace,
    pub(super) handed: Handed,
}

impl Passes for Linear<'_> {
    type Values<'v>
        = Mantissas<'v>
    where
        Self: 'v;

    fn part(&mut self, of: &Numbered<'_>, number: usize, at: Option<At<'_>>) -> Mantissas<'_> {
        let arenas = run(&of.unit, &NoImports, self.workspace);
        if let Some(at) = at {
            self.handed.take(at, number, &of.unit, &arenas);
        }
        Mantissas { arenas }
    }

    fn head(&mut self, of: &Numbered<'_>, at: At<'_>) -> Mantissas<'_> {
        let imports = Imported { at, handed: &self.handed };
        Mantissas { arenas: run(&of.unit, &imports, self.workspace) }
    }

    fn root(of: &Numbered<'_>, values: &Mantissas<'_>, lane: usize) -> Root {
        let root = root_lane(&of.unit, &values.arenas, lane);
        Root { log: root.log_p, is_sure: root.is_sure }
    }
}

/// Runs all steps, and returns where the values lie.
fn run<'w, I: Imports>(unit: &Unit<'_>, imports: &I, workspace: &'w mut Workspace) -> Arenas<'w> {
    let (mut arenas, mut scratch) = workspace.arenas(unit.program);
    let (arenas_of, scratch) = (&mut arenas, &mut scratch);
    pulp::Arch::new().dispatch(Run { unit, imports, arenas: arenas_of, scratch });
    arenas
}

struct Run<'r, 'a, I> {
    unit: &'r Unit<'r>,
    imports: &'r I,
    arenas: &'r mut Arenas<'a>,
    scratch: &'r mut Scratch<'a>,
}

impl<I: Imports> WithSimd for Run<'_, '_, I> {
    type Output = ();

    fn with_simd<S: Simd>(self, simd: S) {
        forward(simd, self.unit, self.imports, self.arenas, self.scratch);
    }
}
