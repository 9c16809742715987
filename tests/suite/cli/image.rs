//! Samples as images, from the command line.

use super::Folder;

/// A folder with circuits in which everything is given: bits, grey levels, colours and reals.
fn folder() -> Folder {
    let folder = Folder::new();
    let each = |name: &str, variables: &str, leaf: &str, n: usize| {
        let leaves: Vec<String> =
            (0..n).map(|at| format!("\"l{at}\": Leaf(var: \"x{at}\", dist: {leaf})")).collect();
        let names: Vec<String> = (0..n).map(|at| format!("\"l{at}\"")).collect();
        let nodes = format!("{}, \"p\": Product([{}])", leaves.join(", "), names.join(", "));
        let structure = format!("Graph(nodes: {{{nodes}}}, root: \"p\")");
        folder.write(name, format!("(variables: {variables}, structure: {structure})"));
    };
    each("bits.ron", "Binary(12)", "Bernoulli(p: 0.5, frozen: true)", 12);
    let levels = "Categorical(n: 4, states: 256)";
    let p: Vec<String> = (0..256).map(|_| "0.00390625".to_string()).collect();
    each("grey.ron", levels, &format!("Categorical(p: [{}], frozen: true)", p.join(", ")), 4);
    each("real.ron", "Real(6)", "Gaussian(mean: 1.0, var: 0.01, frozen: true)", 6);
    folder
}

/// Width, height and bytes a pixel of a PNG file.
fn header(bytes: &[u8]) -> (u32, u32, u8) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let channels = if bytes[25] == 2 { 3 } else { 1 };
    (number(16), number(20), channels)
}

#[test]
fn samples_are_written_as_a_grid_of_images() {
    let folder = folder();
    let line = "sample bits.ron -n 4 --image 3x4 -o s.png --json";
    assert_eq!(folder.pcc(line).ok().json()["rows"], 4);
    assert_eq!(header(&folder.read("s.png")), (10, 8, 1));
    folder.pcc("sample bits.ron -n 1 --image 2x2x3 -o c.png").ok();
    assert_eq!(header(&folder.read("c.png")), (2, 2, 3));
    folder.pcc("sample grey.ron -n 1 --image 1x4 -o g.png").ok();
    assert_eq!(header(&folder.read("g.png")), (4, 1, 1));
    folder.write("mean.data", "1,1,1,1,1,1\n");
    folder.pcc("sample real.ron -n 1 --image 1x2x3 --range 1,3 --offset mean.data -o r.png").ok();
    assert_eq!(header(&folder.read("r.png")), (2, 1, 3));
}

#[test]
fn what_is_no_image_is_refused() {
    let folder = folder();
    folder.write("two.data", "1,1,1,1,1,1\n1,1,1,1,1,1\n");
    let lines = [
        ("bits.ron --image 3x3 -o s.png", 1),
        ("grey.ron --image 2x2x3 -o s.png", 1),
        ("real.ron --image 2x1x3 --offset two.data -o s.png", 1),
        ("bits.ron --image 3x4 -o -", 2),
        ("bits.ron --image 3x4x2 -o s.png", 2),
        ("bits.ron --range 0,2 -o s.png", 2),
        ("bits.ron --image 3x4 --range 2,0 -o s.png", 2),
    ];
    let mut told = String::new();
    for (line, code) in lines {
        let done = folder.pcc(&format!("sample {line} -n 1"));
        assert_eq!(done.code, code, "{line}: {}", done.stderr);
        let first = done.stderr.lines().next().unwrap_or_default();
        told += &format!("pcc sample {line}\n{first}\n");
    }
    assert_eq!(folder.files().iter().filter(|name| name.ends_with(".png")).count(), 0);
    insta::assert_snapshot!("image_refusals", told);
}
