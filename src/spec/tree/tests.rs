//! Cutting texts into trees.

use super::*;

fn tree(text: &str) -> String {
    fn show(tree: &Tree<'_>) -> String {
        let join = |items: &[Tree<'_>]| items.iter().map(show).collect::<Vec<_>>().join(" ");
        match &tree.shape {
            Shape::Number(text) => format!("#{text}"),
            Shape::Text(text) => format!("{text:?}"),
            Shape::Flag(flag) => flag.to_string(),
            Shape::List(items) => format!("[{}]", join(items)),
            Shape::Map(entries) => {
                let entry = |(key, value): &(Tree<'_>, Tree<'_>)| show(key) + "=" + &show(value);
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
            Shape::Word(word) => word.to_string(),
            Shape::Fields(name, fields) => {
                let field = |field: &Field<'_>| format!("{}={}", field.name, show(&field.value));
                let fields = fields.iter().map(field).collect::<Vec<_>>().join(" ");
                format!("{}({fields})", name.unwrap_or_default())
            }
            Shape::Items(name, items) => {
                format!("{}({})", name.unwrap_or_default(), join(items))
            }
            Shape::Other => "other".into(),
        }
    }
    match parse(&Source::new("t", text)) {
        Ok(tree) => show(&tree),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn every_form_of_value_is_cut_out() {
    let text = r##"#![enable(implicit_some)] // a comment
        (a: 1, /* nested /* comment */ */ b: [-1.5e-3, 0xF_F, inf, NaN], c: "q\"\u{41}",
         d: r#"raw "text""#, e: {"k": Leaf(var: 'x'), 2: ()}, f: Some(true), g: None,
         h: Kind(3), i: b"bytes", r#j: N(),)"##;
    assert_eq!(
        tree(text),
        "(a=#1 b=[#-1.5e-3 #0xF_F #inf #NaN] c=\"q\\\"A\" d=\"raw \\\"text\\\"\" \
         e={\"k\"=Leaf(var=other) #2=()} f=true g=None h=Kind(#3) i=other j=N())"
    );
}

#[test]
fn places_leave_out_space_and_comments() {
    let text = "( a :  /* c */ [1, 22] , )";
    let source = Source::new("t", text);
    let tree = parse(&source);
    let Ok(Tree { shape: Shape::Fields(None, fields), span }) = tree else { panic!("{tree:?}") };
    let at = |span: Span| &text[span.start as usize..span.end as usize];
    assert_eq!(at(span), text);
    assert_eq!((at(fields[0].place), at(fields[0].value.span)), ("a", "[1, 22]"));
}

#[test]
fn the_bracket_that_is_not_closed_is_shown() {
    let fault = parse(&Source::new("t", "(a: [1, \"]\", (")).unwrap_err();
    assert_eq!(fault.labels, [(Span::new(13, 14), "this `(` is not closed".into())]);
}

#[test]
fn deep_nesting_is_refused_without_running_out_of_stack() {
    let deep = "[".repeat(100_000);
    assert_eq!(tree(&deep), "error[E0101]: values are nested too deeply");
    let deep = "A(a:".repeat(100_000);
    assert_eq!(tree(&deep), "error[E0101]: values are nested too deeply");
}
