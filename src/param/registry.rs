//! Parameterizers of a library's user, by name: what `Custom(name: "…", args: …)` in a circuit's
//! text resolves through.

use std::collections::BTreeMap;
use std::fmt;

use super::Parameterizer;
use crate::diag::{Code, Diagnostic, nearest};

/// Names of the language's own parameterizers, which are not to be registered.
pub const RESERVED: [&str; 3] = ["Direct", "WeightDecay", "Hyper"];

/// Makes a parameterizer from the arguments that the circuit's text gives, or says with
/// [`Code::E0403`] what is wrong with them.
pub type Factory =
    dyn Fn(&ron::Value) -> Result<Box<dyn Parameterizer>, Diagnostic> + Send + Sync + 'static;

/// Factories of parameterizers, by name.
#[derive(Default)]
pub struct Registry {
    factories: BTreeMap<String, Box<Factory>>,
}

impl Registry {
    /// No parameterizers but the language's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameterizer under a name.
    ///
    /// # Errors
    /// [`Code::E0402`] if the name is the language's own, or registered already.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        factory: impl Fn(&ron::Value) -> Result<Box<dyn Parameterizer>, Diagnostic>
        + Send
        + Sync
        + 'static,
    ) -> Result<(), Diagnostic> {
        let name = name.into();
        if RESERVED.contains(&name.as_str()) || self.factories.contains_key(&name) {
            let message = format!("the name `{name}` already stands for a parameterizer");
            return Err(Diagnostic::new(Code::E0402, message));
        }
        self.factories.insert(name, Box::new(factory));
        Ok(())
    }

    /// The names registered, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// Makes the parameterizer registered under a name.
    ///
    /// # Errors
    /// [`Code::E0402`] if there is none, with the nearest name; or what its factory says.
    pub fn resolve(
        &self,
        name: &str,
        args: &ron::Value,
    ) -> Result<Box<dyn Parameterizer>, Diagnostic> {
        match self.factories.get(name) {
            Some(factory) => factory(args),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let unknown = Diagnostic::new(
            Code::E0402,
            format!("no parameterizer is registered under the name `{name}`"),
        );
        if RESERVED.contains(&name) {
            return unknown.help(format!("write `{name}` itself, without `Custom`"));
        }
        match nearest(name, self.names()) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None if self.factories.is_empty() => unknown.note("none is registered"),
            None => {
                let names: Vec<&str> = self.names().collect();
                unknown.note(format!("registered are: {}", names.join(", ")))
            }
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::hyper::Hyper;

    fn registry() -> Registry {
        let mut registry = Registry::new();
        let small = |args: &ron::Value| -> Result<Box<dyn Parameterizer>, Diagnostic> {
            let embedding = args.clone().into_rust::<usize>().map_err(|fault| {
                Diagnostic::new(Code::E0403, format!("Small takes an embedding's length: {fault}"))
            })?;
            Ok(Box::new(Hyper { embedding, hidden: Vec::new() }))
        };
        assert_eq!(registry.register("Small", small), Ok(()));
        registry
    }

    fn resolve(name: &str, args: &str) -> Result<String, (Code, Option<String>)> {
        let args = ron::from_str(args).map_err(|_| (Code::E0001, None))?;
        match registry().resolve(name, &args) {
            Ok(made) => Ok(format!("{made:?}")),
            Err(fault) => Err((fault.code, fault.help)),
        }
    }

    #[test]
    fn a_registered_name_makes_its_parameterizer_from_the_arguments() {
        assert_eq!(resolve("Small", "3"), Ok("Hyper { embedding: 3, hidden: [] }".into()));
        assert_eq!(resolve("Small", "\"x\""), Err((Code::E0403, None)));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let near = Some("did you mean `Small`?".to_string());
        assert_eq!(resolve("Smal", "3"), Err((Code::E0402, near)));
        assert_eq!(resolve("Zebra", "3"), Err((Code::E0402, None)));
        let plain = Some("write `Hyper` itself, without `Custom`".to_string());
        assert_eq!(resolve("Hyper", "3"), Err((Code::E0402, plain)));
    }

    #[test]
    fn a_name_is_registered_once_and_never_one_of_the_language() {
        for name in ["Small", "Direct", "WeightDecay", "Hyper"] {
            let again = registry().register(name, |_| Ok(Box::new(crate::param::direct::Direct)));
            assert_eq!(again.map_err(|fault| fault.code), Err(Code::E0402), "{name}");
        }
    }
}
