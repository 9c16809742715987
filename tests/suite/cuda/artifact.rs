//! What `pcc compile --target cuda:sm_90` writes, used by the program of `examples/cuda`: in C, by the driver's calls
//! alone, which here run the artifact's own kernels on the processor.

use std::path::Path;
use std::process::Command;

use pcc::engine::cuda::{Kernel, compiler};

use super::skipped;
use crate::agreement::{by_reference, rows_of};
use crate::support::case::spread;
use crate::support::cpu_device::{HEADERS, OPTIONS, has_compiler, run};
use crate::support::describe::{compiled, rat_spn};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cuda/evaluate.c");

/// The example, linked with kernels and driver for the processor.
fn built(folder: &Path, out: &Path) -> std::path::PathBuf {
    let kernels: Vec<&str> = Kernel::ALL.iter().map(|kernel| kernel.name()).collect();
    let names: Vec<String> = kernels.iter().map(|name| format!("\"{name}\"")).collect();
    let source = folder.join("driver.cpp");
    let text = format!(
        "#include \"cuda_on_cpu.h\"\n#include \"{}\"\n#define KERNELS {}\n#define NAMES {}\n\
         #include \"driver.h\"\n",
        out.join("module.cu").display(),
        kernels.join(", "),
        names.join(", ")
    );
    std::fs::write(&source, text).unwrap();
    let driver = format!("{HEADERS}/driver");
    let [object, example, program] =
        ["driver.o", "evaluate.o", "evaluate"].map(|name| folder.join(name));
    let mut kernels = Command::new("c++");
    run(kernels
        .args(OPTIONS)
        .args(["-I", HEADERS, "-I", &driver, "-c", "-o"])
        .args([&object, &source]));
    let mut own = Command::new("cc");
    run(own
        .args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-g"])
        .args(["-fsanitize=address,undefined", "-I", &driver, "-I"])
        .args([out, Path::new("-c"), Path::new(EXAMPLE), Path::new("-o"), &example]));
    let mut link = Command::new("c++");
    run(link.arg("-fsanitize=address,undefined").args([&example, &object]).arg("-o").arg(&program));
    program
}

fn little_ended(numbers: impl IntoIterator<Item = f32>) -> Vec<u8> {
    numbers.into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn the_example_in_c_evaluates_rows_with_an_artifact() {
    if compiler().is_none() || !has_compiler() {
        return skipped("an artifact used from C", "there is no NVRTC, or no C++ compiler");
    }
    let folder = tempfile::tempdir().unwrap();
    for (number, parameterizer) in ["Direct", "Hyper(embedding: 3, hidden: [6])"].iter().enumerate()
    {
        let folder = folder.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        let text = rat_spn(7, 3, 2, &format!("leaves: Indicators, parameterizer: {parameterizer}"));
        std::fs::write(path("c.ron"), &text).unwrap();
        let out = path("out");
        run(Command::new(env!("CARGO_BIN_EXE_pcc"))
            .args(["compile", "--target", "cuda:sm_90", "--batch", "64", "-o"])
            .args([&out, &path("c.ron")]));
        let compiled = compiled(&text);
        let flat = spread(&compiled.written, &compiled.parameters, 1);
        let flat: Vec<f32> = flat.iter().map(|&value| value as f32).collect();
        let data = rows_of(&compiled, 100, 3);
        let mut rows = vec![0.0; data.rows() * data.columns()];
        let cells = rows.chunks_mut(data.columns());
        cells.enumerate().for_each(|(row, out)| data.row(row, out));
        std::fs::write(path("parameters.f32"), little_ended(flat.iter().copied())).unwrap();
        std::fs::write(path("rows.f32"), little_ended(rows)).unwrap();
        let program = built(&folder, &out);
        let said = run(Command::new(program)
            .args([&out, &path("parameters.f32"), &path("rows.f32")])
            .env("ASAN_OPTIONS", "detect_leaks=0"));
        let double: Vec<f64> = flat.iter().map(|&value| value.into()).collect();
        let expected = by_reference(&compiled, &double, &data).log_p;
        let found: Vec<f64> = said.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(found.len(), expected.len());
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() < 1e-5 * expected.abs(),
                "row {row}: {found}, {expected}"
            );
        }
    }
}
