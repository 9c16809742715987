//! Arrays written out by hand, byte by byte, and what the reader makes of them.

use super::*;
use crate::variables::VarKind;

/// A file of format version 1 with this header text and these bytes of values.
fn file(header: &str, values: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    bytes
}

fn array(descr: &str, fortran: bool, shape: &str, values: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    file(&header, values)
}

fn parsed(bytes: &[u8], variables: &Variables) -> Result<Dataset, Diagnostic> {
    parse(Path::new("f.npy"), bytes, bytes.len() as u64, variables)
}

/// Every value as text, or the message.
fn values(bytes: &[u8], variables: &Variables) -> String {
    match parsed(bytes, variables) {
        Ok(data) => {
            let row = |row| {
                let value = |var| data.value(row, var).map_or("_".into(), |v| v.to_string());
                variables.ids().map(value).collect::<Vec<String>>().join(" ")
            };
            (0..data.rows()).map(row).collect::<Vec<_>>().join("; ")
        }
        Err(fault) => fault.to_string(),
    }
}

fn reals(count: usize) -> Variables {
    Variables::uniform(VarKind::Real, count)
}

#[test]
fn every_element_type_is_read_in_either_byte_order() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("|b1", &[1, 0], "1 0"),
        ("|u1", &[255, 7], "255 7"),
        ("|i1", &[255, 7], "-1 7"),
        ("<u2", &[1, 2, 3, 0], "513 3"),
        (">u2", &[1, 2, 0, 3], "258 3"),
        ("<i2", &[255, 255, 3, 0], "-1 3"),
        ("<u4", &[1, 2, 0, 0, 255, 255, 255, 255], "513 4294967300"),
        ("<i4", &[1, 2, 0, 0, 255, 255, 255, 255], "513 -1"),
        ("<u8", &[1, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0], "513 3"),
        ("<i8", &[254, 255, 255, 255, 255, 255, 255, 255, 3, 0, 0, 0, 0, 0, 0, 0], "-2 3"),
        ("<f4", &[0, 0, 192, 63, 0, 0, 0, 192], "1.5 -2"),
        (">f4", &[63, 192, 0, 0, 192, 0, 0, 0], "1.5 -2"),
        ("<f8", &[0, 0, 0, 0, 0, 0, 248, 63, 0, 0, 0, 0, 0, 0, 0, 192], "1.5 -2"),
    ];
    for (descr, bytes, expected) in cases {
        assert_eq!(values(&array(descr, false, "(1, 2)", bytes), &reals(2)), *expected, "{descr}");
    }
}

#[test]
fn axes_after_the_first_are_flattened_in_c_order_whatever_the_order_of_the_file() {
    // Element [i, j, k] of shape (2, 3, 2) is 100 i + 10 j + k.
    let element = |i: u8, j: u8, k: u8| 100 * i + 10 * j + k;
    let mut c_order = Vec::new();
    let mut fortran = vec![0; 12];
    for i in 0..2 {
        for j in 0..3 {
            for k in 0..2 {
                c_order.push(element(i, j, k));
                fortran[usize::from(i + 2 * j + 6 * k)] = element(i, j, k);
            }
        }
    }
    let expected = "0 1 10 11 20 21; 100 101 110 111 120 121";
    assert_eq!(values(&array("|u1", false, "(2, 3, 2)", &c_order), &reals(6)), expected);
    assert_eq!(values(&array("|u1", true, "(2, 3, 2)", &fortran), &reals(6)), expected);
}

#[test]
fn an_array_of_one_axis_is_a_single_column() {
    assert_eq!(values(&array("|u1", false, "(3,)", &[7, 8, 9]), &reals(1)), "7; 8; 9");
}

#[test]
fn both_orders_report_the_first_fault_by_rows() {
    let binary = Variables::binary(2);
    let expected =
        "f.npy:1:2: error[E0502]: `5` does not suit `x1`, binary: its categories are 0 to 1";
    assert_eq!(values(&array("|u1", false, "(2, 2)", &[0, 5, 9, 0]), &binary), expected);
    assert_eq!(values(&array("|u1", true, "(2, 2)", &[0, 9, 5, 0]), &binary), expected);
}

#[test]
fn each_bad_array_has_its_message() {
    let huge = "(1048576, 1048576, 1048576, 1048576)";
    let nested = format!("{{'descr': {}", "(".repeat(60_000));
    let shape = |shape: &str| array("|u1", false, shape, &[0, 1]);
    let float = |value: f32| {
        array("<f4", false, "(1, 2)", &[0f32.to_le_bytes(), value.to_le_bytes()].concat())
    };
    let mut long_header = shape("(1, 2)");
    long_header[6] = 2;
    let cases = [
        ("no rows", shape("(0, 2)")),
        ("nothing follows", array("|u1", false, "(0, 2)", &[])),
        ("wrong columns", shape("(2, 1)")),
        ("one axis", shape("(2,)")),
        ("no axis", shape("()")),
        ("truncated", shape("(2, 2)")),
        ("too long", array("|u1", false, "(1, 2)", &[0, 1, 1])),
        ("overflow", shape(huge)),
        ("large", shape("(1000000000, 2)")),
        ("negative", shape("(-1, 2)")),
        ("hexadecimal", shape("(0xffffffffffffffff, 0xffffffffffffffff)")),
        ("underscores", shape("(9_999_999_999, 9_999_999_999)")),
        ("past 64 bits", shape("(99999999999999999999999, 2)")),
        ("nested", file(&nested, &[])),
        ("no dictionary", file("[1, 2]", &[])),
        ("no text", file("\u{0}\u{0}", &[])),
        ("missing key", file("{'descr': '|u1', 'shape': (1, 2)}", &[0, 1])),
        ("half", array("<f2", false, "(1, 2)", &[0; 4])),
        ("complex", array("<c8", false, "(1, 2)", &[0; 16])),
        ("text", array("<U1", false, "(1, 2)", &[0; 8])),
        ("record", file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 2)}", &[])),
        ("bool of 2", array("|b1", false, "(1, 2)", &[0, 2])),
        ("version 2", long_header),
        ("NaN", float(f32::NAN)),
        ("infinity", float(f32::INFINITY)),
        ("too large", array("<f8", false, "(1, 1)", &1e39f64.to_le_bytes())),
        ("other file", b"PK\x03\x04....".to_vec()),
    ];
    let table: Vec<String> = cases
        .iter()
        .map(|(name, bytes)| {
            let columns = if *name == "too large" { 1 } else { 2 };
            format!("{name}\n  {}", values(bytes, &reals(columns)))
        })
        .collect();
    insta::assert_snapshot!(table.join("\n"), @"
        no rows
          f.npy: error[E0504]: the file goes on for 2 bytes after the array
        nothing follows
          f.npy: error[E0503]: the file holds no rows
        wrong columns
          f.npy: error[E0501]: 1 column where the circuit has 2 variables
        one axis
          f.npy: error[E0501]: 1 column where the circuit has 2 variables
        no axis
          f.npy: error[E0504]: the file goes on for 1 byte after the array
        truncated
          f.npy: error[E0504]: the file is truncated: 2 of 4 bytes of values
        too long
          f.npy: error[E0504]: the file goes on for 1 byte after the array
        overflow
          f.npy: error[E0504]: the array's header declares a size no file has
        large
          f.npy: error[E0504]: the file is truncated: 2 of 2000000000 bytes of values
        negative
          f.npy: error[E0504]: the array's header is damaged: dimension cannot be negative
        hexadecimal
          f.npy: error[E0504]: the array's header is damaged: a number is not decimal
        underscores
          f.npy: error[E0504]: the array's header is damaged: a number is not decimal
        past 64 bits
          f.npy: error[E0504]: the array's header declares a size no file has
        nested
          f.npy: error[E0504]: the array is not of plain numbers
        no dictionary
          f.npy: error[E0504]: the array's header is damaged: expected a python dict literal
        no text
          f.npy: error[E0504]: the array's header is damaged: could not parse Python expression
        missing key
          f.npy: error[E0504]: the array's header is damaged: dict is missing key 'fortran_order'
        half
          f.npy: error[E0504]: elements of type '<f2' are not read; bool, integers of 8 to 64 bits and floats of 32 or 64 bits are
        complex
          f.npy: error[E0504]: elements of type '<c8' are not read; bool, integers of 8 to 64 bits and floats of 32 or 64 bits are
        text
          f.npy: error[E0504]: elements of type '<U1' are not read; bool, integers of 8 to 64 bits and floats of 32 or 64 bits are
        record
          f.npy: error[E0504]: the array is not of plain numbers
        bool of 2
          f.npy: error[E0504]: the array is damaged: invalid value for bool: 2
        version 2
          f.npy: error[E0504]: the array's header is said to take 662372412 bytes
        NaN
          f.npy:1:2: error[E0502]: `NaN` does not suit `x1`, real: NaN is not a value, nor a missing one
        infinity
          f.npy:1:2: error[E0502]: `inf` does not suit `x1`, real: it is not a finite 32-bit number
        too large
          f.npy:1:1: error[E0502]: `1e39` does not suit `x0`, real: it is not a finite 32-bit number
        other file
          f.npy: error[E0504]: the file is not a NumPy array
        ");
}

#[test]
fn every_prefix_of_a_file_is_refused_without_a_panic() {
    let whole = array("<i2", false, "(3, 2)", &[1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(values(&whole, &Variables::binary(2)), "1 0; 1 1; 0 0");
    for end in 0..whole.len() {
        let fault = parsed(&whole[..end], &Variables::binary(2)).unwrap_err();
        assert_eq!(fault.code, Code::E0504, "{end} bytes: {fault}");
    }
}

#[test]
fn no_damaged_byte_makes_the_reader_panic() {
    let whole = array("<i2", true, "(3, 2)", &[1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    for position in 0..whole.len() {
        for byte in 0..=u8::MAX {
            let mut damaged = whole.clone();
            damaged[position] = byte;
            if let Ok(data) = parsed(&damaged, &Variables::binary(2)) {
                assert_eq!((data.rows(), data.columns()), (3, 2));
            }
        }
    }
}
