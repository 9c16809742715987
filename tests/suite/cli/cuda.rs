//! CUDA from the command line: what needs no device works without one, and what needs one says so.

use super::Folder;

#[test]
fn the_source_of_the_kernels_is_shown_without_a_device() {
    let folder = Folder::with_circuit();
    let source = folder.pcc("compile c.ron --emit cuda").ok().stdout;
    assert!(source.starts_with("#define THREADS "), "{source}");
    assert!(
        source.contains("extern \"C\" __global__ void __launch_bounds__(THREADS, BLOCKS) head(")
    );
    let json = folder.pcc("compile c.ron --emit cuda --json").ok().json();
    assert_eq!(json["emit"].as_str(), Some(source.as_str()));
}

#[test]
fn where_there_is_no_device_one_sentence_says_so() {
    if pcc::engine::cuda::probe().is_ok() {
        return;
    }
    let folder = Folder::with_circuit();
    for line in [
        "train c.ron --train train.data -o m.pcc --engine cuda",
        "eval c.ron --data test.data --engine cuda",
        "compile c.ron --target cuda",
        "bench c.ron --engine cuda",
        "sample m.pcc -n 2 -o rows.csv --engine cuda",
        "reproduce toy --quick -o toy --engine cuda",
    ] {
        let done = folder.pcc(line);
        assert_eq!(done.code, 3, "{line}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{line}");
        assert_eq!(done.stderr.matches("error[E0701]").count(), 1, "{line}: {}", done.stderr);
    }
    assert_eq!(folder.files(), ["c.ron", "test.data", "train.data"]);
}

#[test]
fn a_device_that_is_too_old_is_refused() {
    let folder = Folder::with_circuit();
    let done = folder.pcc("compile c.ron --target cuda:sm_70 -o out");
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("the kernels need sm_80 or later, not sm_70"), "{}", done.stderr);
}

#[test]
fn an_artifact_holds_the_code_the_manifest_and_the_tables_that_it_names() {
    if pcc::engine::cuda::compiler().is_none() {
        return crate::cuda::skipped("writing an artifact", "NVRTC cannot be loaded");
    }
    let folder = Folder::with_circuit();
    folder.pcc("compile c.ron --target cuda:sm_90 -o out").ok();
    let out = folder.path("out");
    let read = |name: &str| std::fs::read(out.join(name)).unwrap();
    assert!(read("module.cubin").starts_with(b"\x7fELF"));
    let manifest: serde_json::Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    assert_eq!(manifest["architecture"], "sm_90");
    let mut tables = 0;
    for buffer in manifest["buffers"].as_array().unwrap() {
        if let Some(file) = buffer["file"].as_str() {
            assert_eq!(read(file).len() as u64, buffer["bytes"].as_u64().unwrap(), "{file}");
            tables += 1;
        }
    }
    assert_eq!(tables, 11);
}

#[test]
fn a_precision_is_the_cuda_engines_alone() {
    let folder = Folder::with_circuit();
    for line in [
        "train c.ron --train train.data -o m.pcc --precision tf32",
        "eval c.ron --data test.data --precision bf16",
        "compile c.ron --emit plan --precision bf16",
        "bench c.ron --precision tf32",
    ] {
        let done = folder.pcc(line);
        assert_eq!(done.code, 1, "{line}: {}", done.stderr);
        assert!(
            done.stderr.contains("error[E0702]: the CPU engine has"),
            "{line}: {}",
            done.stderr
        );
    }
    assert_eq!(folder.pcc("compile c.ron --precision f32").ok().code, 0);
}

#[test]
fn the_plan_says_what_a_precision_costs() {
    let folder = Folder::new();
    let wide = "(variables: Binary(9), structure: RatSpn(units: 40, replicas: 2))";
    folder.write("wide.ron", wide);
    let last = |precision: &str| {
        let line =
            format!("compile wide.ron --target cuda:sm_90 --emit plan --precision {precision}");
        let plan = folder.pcc(&line).ok().stdout;
        plan.lines().last().unwrap().trim().to_string()
    };
    assert!(last("f32").starts_with("precision=f32: a term goes through "), "{}", last("f32"));
    let nats = |precision| {
        let line = last(precision);
        let after = line.split_once("within ").unwrap().1;
        after.split_once(' ').unwrap().0.parse::<f64>().unwrap()
    };
    let [single, eleven, eight] = ["f32", "tf32", "bf16"].map(nats);
    assert!(single > 0.0 && (1990.0..2060.0).contains(&(eleven / single)), "{single} {eleven}");
    assert!((7.9..8.1).contains(&(eight / eleven)), "{eleven} {eight}");
    folder.write("narrow.ron", wide.replace("40", "4"));
    let plan = folder.pcc("compile narrow.ron --target cuda:sm_90 --emit plan").ok().stdout;
    assert!(plan.ends_with("precision=f32: no sum is wide enough for tensor cores\n"), "{plan}");
    let kernels =
        folder.pcc("compile wide.ron --target cuda:sm_90 --emit cuda --precision bf16").ok();
    assert!(kernels.stdout.contains("#define PRECISION BF16\n"));
}

#[test]
fn the_memory_of_a_device_is_known_and_kept_within_a_limit() {
    let folder = Folder::new();
    folder.write("c.ron", "(variables: Binary(60), structure: RatSpn(units: 40, replicas: 3))");
    let line = "compile c.ron --target cuda:sm_90 --emit plan --json --memory";
    let takes = |limit: &str| {
        let json = folder.pcc(&format!("{line} {limit}")).ok().json();
        let bytes = json["peak_bytes"].as_u64().unwrap();
        let plan = json["emit"].as_str().unwrap();
        assert!(plan.contains(&format!("  bytes={bytes} ")), "{plan}");
        bytes
    };
    let all = takes("1GiB");
    assert!(takes(&format!("{all}")) == all);
    assert!(takes(&format!("{}", all * 2 / 3)) <= all * 2 / 3);
    let refused = folder.pcc(&format!("{line} 100KiB"));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    let message = "error[E0702]: the plan takes ";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
    assert!(refused.stderr.contains(" on the device at least, more than 100 KiB"));
    assert!(refused.stderr.contains("these are of 500 rows"), "{}", refused.stderr);
}
