//! What `pcc compile` says and draws of data whose rows agree.

use super::Folder;

#[test]
fn the_plan_says_what_is_shared_of_the_data() {
    let folder = Folder::with_circuit();
    // From the line on which sharing is spoken of.
    let said = |flags: &str| {
        let line = format!("compile c.ron --emit plan --batch 100 {flags}");
        let text = folder.pcc(&line).ok().stdout;
        let at = text.find("sharing to").unwrap_or_else(|| panic!("{text}"));
        format!("pcc {line}\n{}", &text[at..])
    };
    let told = [
        said(""),
        said("--data train.data"),
        said("--data train.data --no-sharing"),
        said("--data train.data --schedule deep"),
    ];
    insta::assert_snapshot!("what_is_shared", told.join("\n"));
}

#[test]
fn agreement_is_drawn_as_recorded() {
    let folder = Folder::with_circuit();
    let line = "compile c.ron --emit sharing --batch 30 --data train.data";
    let figure = folder.pcc(line).ok().stdout;
    assert_eq!(figure, folder.pcc(line).ok().stdout);
    insta::assert_snapshot!("agreement", figure);
}

#[test]
fn agreement_needs_data_and_discrete_variables() {
    let folder = Folder::with_circuit();
    assert_eq!(folder.pcc("compile c.ron --emit sharing").code, 2);
    folder.write(
        "real.ron",
        "(variables: Real(4), structure: RatSpn(units: 2, replicas: 2), leaves: Gaussian())",
    );
    folder.write("real.data", "0.5,1,2,3\n1,2,3,4\n");
    let done = folder.pcc("compile real.ron --emit sharing --data real.data");
    assert_eq!(done.code, 1, "{}", done.stderr);
    assert!(done.stderr.contains("E0704"), "{}", done.stderr);
}
