//! The parameterizer that a description asks for.

use crate::diag::Diagnostic;
use crate::param::direct::{Direct, WeightDecay};
use crate::param::hyper::Hyper;
use crate::param::{Parameterizer, registry::Registry};
use crate::spec::{ParameterizerSpec, Spec};

/// Makes the parameterizer of a description; those of a library's user come from `registry`.
///
/// # Errors
/// E0402 for a name that is not registered, and what a registered one says of its arguments.
pub fn parameterizer(
    spec: &Spec,
    registry: &Registry,
) -> Result<Box<dyn Parameterizer>, Diagnostic> {
    Ok(match &spec.parameterizer.value {
        ParameterizerSpec::Direct => Box::new(Direct),
        ParameterizerSpec::WeightDecay { lambda } => Box::new(WeightDecay { lambda: *lambda }),
        ParameterizerSpec::Hyper { embedding, hidden } => Box::new(Hyper {
            embedding: *embedding as usize,
            hidden: hidden.iter().map(|&width| width as usize).collect(),
        }),
        ParameterizerSpec::Custom { name, args } => {
            registry.resolve(name, args).map_err(|fault| fault.at(spec.parameterizer.span))?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Source;
    use crate::spec::read;

    fn made(parameterizer: &str) -> String {
        let text = format!(
            "(variables: Binary(2), structure: RatSpn(units: 2, replicas: 1), \
             parameterizer: {parameterizer})"
        );
        let spec = match read(&Source::new("c.ron", text)) {
            (Some(spec), _) => spec,
            (None, faults) => return faults.to_string(),
        };
        match super::parameterizer(&spec, &Registry::new()) {
            Ok(made) => format!("{made:?}"),
            Err(fault) => format!("{fault} at {:?}", fault.place),
        }
    }

    #[test]
    fn each_parameterizer_of_the_language_is_made_with_its_arguments() {
        assert_eq!(made("Direct"), "Direct");
        assert_eq!(made("WeightDecay(lambda: 0.5)"), "WeightDecay { lambda: 0.5 }");
        let hyper = made("Hyper(embedding: 3, hidden: [4, 5])");
        assert_eq!(hyper, "Hyper { embedding: 3, hidden: [4, 5] }");
    }

    #[test]
    fn an_unregistered_one_is_a_fault_at_its_place() {
        insta::assert_snapshot!(made("Custom(name: \"Mine\")"), @"error[E0402]: no parameterizer is registered under the name `Mine` at Span(Span { start: 80, end: 100 })");
    }
}
