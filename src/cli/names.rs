//! Names of variables on the command line: parted by commas, and in quotation marks where they hold one, as in
//! a line of names of comma-separated values.

/// Names of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// Values of variables, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignments(pub Vec<(String, f32)>);

/// `VAR,VAR`.
pub fn names(text: &str) -> Result<Names, String> {
    let (mut names, mut rest) = (Vec::new(), Some(text));
    while let Some(text) = rest {
        let (name, after) = name(text, ',')?;
        names.push(name);
        rest = after;
    }
    Ok(Names(names))
}

/// `VAR=VALUE,VAR=VALUE`.
pub fn assignments(text: &str) -> Result<Assignments, String> {
    let (mut values, mut rest) = (Vec::new(), Some(text));
    while let Some(text) = rest {
        let text = text.trim_start();
        let (name, after) = name(text, '=')?;
        let name = if text.starts_with('"') { name } else { name.trim_end().to_owned() };
        let after = after.ok_or("expected VAR=VALUE, such as x1=0")?;
        let (value, after) = match after.split_once(',') {
            Some((value, after)) => (value, Some(after)),
            None => (after, None),
        };
        let value = value.trim().parse().map_err(|_| format!("`{value}` is not a number"))?;
        values.push((name, value));
        rest = after;
    }
    Ok(Assignments(values))
}

/// The name that a text begins with, and what follows the `end` behind it. Quotation marks within quotation marks
/// are written twice.
fn name(text: &str, end: char) -> Result<(String, Option<&str>), String> {
    let Some(mut rest) = text.strip_prefix('"') else {
        return Ok(match text.split_once(end) {
            Some((name, after)) => (name.to_owned(), Some(after)),
            None => (text.to_owned(), None),
        });
    };
    let mut name = String::new();
    loop {
        let Some((own, after)) = rest.split_once('"') else {
            return Err(format!("the quotation mark of `{text}` is not closed"));
        };
        name.push_str(own);
        match (after.strip_prefix('"'), after.strip_prefix(end)) {
            (Some(more), _) => {
                name.push('"');
                rest = more;
            }
            (None, Some(after)) => return Ok((name, Some(after))),
            (None, None) if after.is_empty() => return Ok((name, None)),
            (None, None) => return Err(format!("`{after}` stands behind a quotation mark")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parted_by_commas_that_do_not_stand_in_quotation_marks() {
        let read = |text: &str| names(text).map(|names| names.0.join("|"));
        assert_eq!(read("x1,x2"), Ok("x1|x2".into()));
        assert_eq!(read(r#""a,b",c,"say ""no""""#), Ok(r#"a,b|c|say "no""#.into()));
        assert_eq!(read(r#"5" nails,"#), Ok(r#"5" nails|"#.into()));
        assert!(read(r#""a,b"#).is_err() && read(r#""a"b,c"#).is_err());
    }

    #[test]
    fn values_follow_names_that_may_hold_what_parts_them() {
        let read = |text: &str| assignments(text).map(|of| format!("{:?}", of.0));
        assert_eq!(read("x1=0, x2 = 1.5"), Ok(r#"[("x1", 0.0), ("x2", 1.5)]"#.into()));
        assert_eq!(read(r#""a,b=c"=2,d=1"#), Ok(r#"[("a,b=c", 2.0), ("d", 1.0)]"#.into()));
        assert!(read("x1").is_err() && read("x1=a").is_err() && read("x1=0,").is_err());
    }
}
