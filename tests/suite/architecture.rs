//! What ARCHITECTURE.md promises of the source: who may name whom, and who may do what.
//!
//! One crate cannot forbid an import, so these tests read the files of `src`. They look at tokens:
//! comments, texts and unit tests are left out, since they may speak of anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules, row by row. A module may name those of the rows above it, and no other: neither one
/// below nor one beside it.
const LAYERS: &[&[&str]] = &[
    &["ids", "diag", "real"],
    &["variables", "scope", "simd"],
    &["leaf", "data"],
    &["circuit", "param"],
    &["engine::reference", "rewrite", "sector"],
    &["spec", "query", "sample", "plan", "engine", "import", "export", "drawing"],
    &["structure", "compile"],
    &["model"],
    &["train"],
    &["reproduce", "engine::cpu"],
    &["engine::cuda"],
    &["cli"],
];

/// What the rows would allow and must not be: a module, and one that it must not name.
const NEVER: &[(&str, &str)] = &[
    // An oracle that shares code with what it judges is no oracle; it shares the formulas of leaves.
    ("engine::reference", "param"),
    ("engine::reference", "simd"),
    ("engine::reference", "data"),
    // How weights are made is no concern of the function they are weights of.
    ("rewrite", "param"),
    // A description is data, not yet a circuit.
    ("spec", "circuit"),
    ("spec", "param"),
];

/// Which modules may name a dependency. All dependencies are listed.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("annotate_snippets", &["cli"]),
    ("blake3", &["data", "model", "engine::cuda", "cli"]),
    ("clap", &["cli"]),
    ("ctrlc", &["cli"]),
    ("cudarc", &["engine::cuda"]),
    ("egg", &["rewrite"]),
    ("indicatif", &["cli"]),
    ("npyz", &["data"]),
    ("num_traits", &["real", "train"]),
    ("petgraph", &["circuit", "rewrite"]),
    ("plotters", &["drawing", "train"]),
    ("png", &["data"]),
    ("pulp", &["simd", "param", "structure", "engine", "engine::cpu", "engine::cuda", "cli"]),
    ("rand", &["leaf", "data", "param", "structure", "sample", "train", "engine::cpu", "cli"]),
    ("rand_chacha", &["leaf", "data", "param", "structure", "sample", "train", "cli"]),
    ("rayon", &["rewrite", "structure", "sample", "model", "train", "engine::cpu", "cli"]),
    ("ron", &["spec", "param"]),
    ("safetensors", &["model"]),
    ("serde", &["ids", "sector", "spec", "plan", "model", "train", "engine::cuda", "cli"]),
    ("serde_json", &["model", "train", "cli"]),
    ("tempfile", &["data", "cli"]),
    ("thiserror", &["train"]),
];

/// A source file, without comments, texts and unit tests.
struct File {
    /// From the root of the package.
    path: String,
    /// The path of its module: `["engine", "cpu", "logs"]`.
    module: Vec<String>,
    tokens: Vec<String>,
}

impl File {
    /// The layer's module that this file belongs to; `None` for the crate's root and `main`.
    fn owner(&self) -> Option<&'static str> {
        known(&self.module)
    }

    /// Whether the tokens at `at` are these.
    fn has(&self, at: usize, tokens: &[&str]) -> bool {
        self.tokens[at..].iter().map(String::as_str).take(tokens.len()).eq(tokens.iter().copied())
    }

    /// Whether a path begins at `at`.
    fn begins_path(&self, at: usize) -> bool {
        at == 0 || !matches!(self.tokens[at - 1].as_str(), "::" | ".")
    }

    /// All paths into this crate, from its root.
    fn paths(&self) -> BTreeSet<Vec<String>> {
        let mut found = BTreeSet::new();
        for at in (0..self.tokens.len()).filter(|&at| self.begins_path(at)) {
            let (mut base, mut at) = match self.tokens[at].as_str() {
                "crate" if self.has(at + 1, &["::"]) => (Vec::new(), at + 2),
                "super" => (self.module.clone(), at),
                _ => continue,
            };
            while self.has(at, &["super", "::"]) {
                base.pop();
                at += 2;
            }
            self.tree(at, &base, &mut found);
        }
        found
    }

    /// The paths of a use tree at `at`, each behind `base`. Returns where it ends.
    fn tree(&self, mut at: usize, base: &[String], found: &mut BTreeSet<Vec<String>>) -> usize {
        if !self.has(at, &["{"]) {
            let path = base.iter().cloned().chain(self.tokens.get(at).cloned()).collect::<Vec<_>>();
            if self.has(at + 1, &["::"]) {
                return self.tree(at + 2, &path, found);
            }
            found.insert(path);
            return at + 1;
        }
        at += 1;
        while at < self.tokens.len() && !self.has(at, &["}"]) {
            at = self.tree(at, base, found);
            while at < self.tokens.len() && !self.has(at, &["}"]) && !self.has(at - 1, &[","]) {
                at += 1;
            }
        }
        at + 1
    }
}

/// The longest module of the layers that a path leads into.
fn known(path: &[String]) -> Option<&'static str> {
    let path = path.join("::");
    let inside = |module: &&&str| path == **module || path.starts_with(&format!("{module}::"));
    LAYERS
        .iter()
        .flat_map(|row| row.iter())
        .filter(inside)
        .max_by_key(|module| module.len())
        .copied()
}

fn row_of(module: &str) -> usize {
    LAYERS.iter().position(|row| row.contains(&module)).expect("a module of the layers")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under a folder of the package, in order.
fn files_under(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The files of `src`, unit tests left out.
fn sources() -> Vec<File> {
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let inner = path.strip_prefix(root().join("src")).unwrap().with_extension("");
        let names = inner.iter().map(|name| name.to_str().unwrap().to_owned());
        let module: Vec<String> =
            names.filter(|name| !matches!(name.as_str(), "mod" | "lib" | "main")).collect();
        let path = path.strip_prefix(root()).unwrap().display().to_string();
        let tests = module.last().is_some_and(|name| name == "tests");
        (!tests).then(|| File { path, module, tokens: tokens(without_tests(&text)) })
    };
    files_under("src").into_iter().filter_map(source).collect()
}

/// A file's text up to its module of tests, which is its last item.
fn without_tests(text: &str) -> &str {
    let mut at = 0;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default().trim_end();
        if line.trim_end() == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
            return &text[..at];
        }
        at += line.len();
    }
    text
}

/// Words, `::` and single characters, without comments, texts and blanks.
fn tokens(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw_text(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            open + rest[open..].find(&end).map_or(rest.len() - open, |at| at + end.len())
        } else if c == '"' {
            text_len(rest)
        } else if let Some(len) = character_len(rest) {
            len
        } else if c.is_whitespace() {
            c.len_utf8()
        } else {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let len = match word {
                0 if rest.starts_with("::") => 2,
                0 => c.len_utf8(),
                word => word,
            };
            tokens.push(rest[..len].to_owned());
            len
        };
        rest = &rest[len..];
    }
    tokens
}

/// Number of `#` of a raw text that begins here.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Length of the text in quotes that begins here.
fn text_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the character in quotes that begins here; `None` for a lifetime and all else.
fn character_len(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('\'')?;
    if let Some(escape) = after.strip_prefix('\\') {
        let first = escape.chars().next()?.len_utf8();
        return Some(2 + first + escape[first..].find('\'')? + 1);
    }
    let first = after.chars().next()?.len_utf8();
    after[first..].starts_with('\'').then_some(first + 2)
}

/// Fails with all that was found.
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn modules_only_import_downwards() {
    let mut faults = Vec::new();
    for file in sources() {
        let Some(owner) = file.owner() else { continue };
        for path in file.paths() {
            let Some(named) = known(&path).filter(|&named| named != owner) else { continue };
            if row_of(named) >= row_of(owner) || NEVER.contains(&(owner, named)) {
                faults.push(format!("{}: {owner} names {}", file.path, path.join("::")));
            }
        }
    }
    none(faults);
}

#[test]
fn every_module_has_its_layer() {
    let lib = sources().into_iter().find(|file| file.path == "src/lib.rs").unwrap();
    let declared: BTreeSet<String> = modules(&lib.tokens).collect();
    let layered = LAYERS.iter().flat_map(|row| row.iter());
    let layered: BTreeSet<String> =
        layered.map(|module| module.split("::").next().unwrap().to_owned()).collect();
    assert_eq!(declared, layered);
}

/// The names in `mod name;`.
fn modules(tokens: &[String]) -> impl Iterator<Item = String> + '_ {
    let file = |window: &&[String]| window[0] == "mod" && window[2] == ";";
    tokens.windows(3).filter(file).map(|window| window[1].clone())
}

#[test]
fn every_source_file_is_reachable_and_opens_with_a_doc() {
    let mut faults = Vec::new();
    for (folder, entries) in
        [("src", &["src/lib.rs", "src/main.rs"][..]), ("tests/suite", &["tests/suite/main.rs"])]
    {
        let mut reached = BTreeSet::new();
        let mut queue: Vec<PathBuf> = entries.iter().map(|entry| root().join(entry)).collect();
        while let Some(path) = queue.pop() {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let named = path.file_name().is_some_and(|name| name != "mod.rs");
            let entry = entries.iter().any(|entry| path == root().join(entry));
            let inside = if named && !entry { path.with_extension("") } else { folder_of(&path) };
            for name in modules(&tokens(&text)) {
                let file = inside.join(format!("{name}.rs"));
                let folder = inside.join(&name).join("mod.rs");
                queue.push(if file.exists() { file } else { folder });
            }
            reached.insert(path);
        }
        for path in files_under(folder) {
            let text = fs::read_to_string(&path).unwrap();
            if !reached.contains(&path) {
                faults.push(format!("{}: no module declares it", path.display()));
            }
            if !text.starts_with("//! ") {
                faults.push(format!("{}: does not say what it is for", path.display()));
            }
        }
    }
    none(faults);
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap().to_owned()
}

#[test]
fn only_its_own_modules_name_a_dependency() {
    let allowed: BTreeMap<&str, &[&str]> = DEPENDENCIES.iter().copied().collect();
    let mut faults = Vec::new();
    for file in sources() {
        let owner = file.owner().unwrap_or("the root");
        for at in (0..file.tokens.len()).filter(|&at| file.begins_path(at)) {
            let token = file.tokens[at].as_str();
            let path = file.has(at + 1, &["::"]) || at > 0 && file.has(at - 1, &["use"]);
            let Some(places) = allowed.get(token).filter(|_| path) else { continue };
            if !places.contains(&owner) {
                faults.push(format!("{}: {owner} names {token}", file.path));
            }
        }
    }
    none(faults);
}

#[test]
fn every_dependency_has_its_places() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lines = manifest.lines().skip_while(|&line| line != "[dependencies]").skip(1);
    let declared = lines.take_while(|line| !line.starts_with('['));
    let declared: BTreeSet<String> = declared
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.replace('-', "_"))
        .collect();
    let listed: BTreeSet<String> =
        DEPENDENCIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(declared, listed);
}

#[test]
fn nothing_prints_but_the_command_line() {
    let deeds: [&[&str]; 11] = [
        &["println", "!"],
        &["eprintln", "!"],
        &["print", "!"],
        &["eprint", "!"],
        &["dbg", "!"],
        &["std", "::", "env"],
        &["process", "::", "exit"],
        &["process", "::", "abort"],
        &["io", "::", "stdin"],
        &["io", "::", "stdout"],
        &["io", "::", "stderr"],
    ];
    let mut faults = Vec::new();
    for file in sources() {
        if file.owner() == Some("cli") || file.path == "src/main.rs" {
            continue;
        }
        let found = |deed: &&&[&str]| (0..file.tokens.len()).any(|at| file.has(at, deed));
        faults.extend(
            deeds.iter().filter(found).map(|deed| format!("{}: {}", file.path, deed.concat())),
        );
    }
    none(faults);
}

#[test]
fn nothing_is_unsafe_but_the_calls_to_a_device() {
    let word = |token: &String| token == "unsafe" || token == "unsafe_code";
    let unsafe_files = sources().into_iter().filter(|file| file.tokens.iter().any(word));
    let paths: Vec<String> = unsafe_files.map(|file| file.path).collect();
    assert_eq!(paths, ["src/engine/cuda/raw.rs"]);
}

#[test]
fn use_trees_are_read_as_the_compiler_reads_them() {
    let text = r##"
        //! crate::cli
        use crate::plan::{self, Part, check::{a, b as c}};
        use crate::{leaf, real::*};
        use super::{Tally, reference::x};
        use super::super::train;
        fn f<'a>(q: char) -> bool { q == '"' && q != '\'' } /// crate::spec
        const T: &str = r#"crate::model"#; const U: &str = "\"crate::query";
        fn g() { crate::data::read() }
    "##;
    let module = ["engine", "cpu"].map(str::to_owned).to_vec();
    let file = File { path: String::new(), module, tokens: tokens(text) };
    let paths = file.paths().into_iter().map(|path| path.join("::")).collect::<Vec<_>>();
    let expected = [
        "data::read",
        "engine::Tally",
        "engine::reference::x",
        "leaf",
        "plan::Part",
        "plan::check::a",
        "plan::check::b",
        "plan::self",
        "real::*",
        "train",
    ];
    assert_eq!(paths, expected);
    assert_eq!(file.owner(), Some("engine::cpu"));
}
